import { cronJobs } from "convex/server";
import { internal } from "./_generated/api";

const crons = cronJobs();
crons.interval("close the books", { hours: 24 }, internal.books.close, {});

export default crons;
