import { anyApi, cronJobs } from "convex/server";

const crons = cronJobs();
crons.interval("note", { hours: 1 }, anyApi.later.write, { text: "by a cron job" });
crons.daily("every day", { hourUTC: 3, minuteUTC: 30 }, anyApi.later.write, { text: "day" });
crons.cron("in Berlin", "CRON_TZ=Europe/Berlin 0 9 * * 1-5", anyApi.later.work, { text: "nine" });
export default crons;
