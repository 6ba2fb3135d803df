// ConvexReactClient and its hooks, rendered into a DOM: what a user would see, render by render.
import { JSDOM } from "jsdom";
import ws from "ws";
import { anyApi as api } from "convex/server";
import { drive, quiet, url } from "./driver.mjs";

const dom = new JSDOM('<!doctype html><div id="root"></div>', { url: "http://localhost/" });
Object.assign(globalThis, { window: dom.window, document: dom.window.document });

const { Component, createElement: h } = await import("react");
const { createRoot } = await import("react-dom/client");
const { ConvexProvider, ConvexReactClient, useAction, useMutation, usePaginatedQuery, useQuery } =
  await import("convex/react");

const client = new ConvexReactClient(url, {
  webSocketConstructor: ws,
  skipConvexDeploymentUrlCheck: true,
  unsavedChangesWarning: false,
  logger: quiet,
});

// Mounts a component that reports what it sees in each render; `until` waits for a render.
function mount(Body) {
  const element = dom.window.document.createElement("div");
  dom.window.document.body.append(element);
  const renders = [];
  let wake = () => {};
  const report = (seen) => { renders.push(seen); wake(); };
  const root = createRoot(element, { onCaughtError() {}, onUncaughtError() {} });
  root.render(h(ConvexProvider, { client }, h(Body, { report })));
  const until = async (holds) => {
    while (renders.length === 0 || !holds(renders.at(-1))) {
      await new Promise((resolve) => (wake = resolve));
    }
    return renders.at(-1);
  };
  return { renders, until, element, unmount: () => root.unmount() };
}

async function liveList() {
  const args = { channel: "react" };
  const view = mount(({ report }) => {
    const messages = useQuery(api.messages.list, args);
    const send = useMutation(api.messages.send);
    report({ bodies: messages?.map((message) => message.body), send });
    return h("ul", null, messages?.map((message) => h("li", { key: message._id }, message.body)));
  });
  const { send } = await view.until((seen) => seen.bodies !== undefined);
  await send({ ...args, author: "r", body: "hello" });
  await view.until((seen) => seen.bodies.length === 1);
  await new Promise((resolve) => setTimeout(resolve, 0)); // the DOM follows its render
  const html = view.element.innerHTML;
  const firstRender = view.renders[0].bodies === undefined ? "loading" : "data";
  view.unmount();
  return { firstRender, html };
}

// What was shown optimistically stays: no render lacks it, shows it twice, or in another order.
async function optimistic() {
  const args = { channel: "optimistic" };
  const view = mount(({ report }) => {
    const messages = useQuery(api.messages.list, args);
    const send = useMutation(api.messages.send).withOptimisticUpdate((store, { body }) => {
      const known = store.getQuery(api.messages.list, args) ?? [];
      const message = { _id: `optimistic ${body}`, _creationTime: Date.now(), body, ...args };
      store.setQuery(api.messages.list, args, [message, ...known]);
    });
    report({ messages, send });
    return null;
  });
  const { send } = await view.until((seen) => seen.messages !== undefined);
  const sent = Array.from({ length: 20 }, (_, i) => `m${i}`);
  const pending = [];
  for (const body of sent) {
    pending.push(send({ ...args, author: "r", body }));
    await new Promise((resolve) => setTimeout(resolve, 2)); // answers and new calls interleave
  }
  await Promise.all(pending);
  const isStored = (message) => !message._id.startsWith("optimistic");
  await view.until((seen) => seen.messages.length === 20 && seen.messages.every(isStored));
  const lists = view.renders
    .filter((seen) => seen.messages !== undefined)
    .map((seen) => seen.messages.map((message) => message.body).reverse());
  view.unmount();
  return {
    shownAtOnce: view.renders.some((seen) => seen.messages?.some((message) => !isStored(message))),
    flickers: lists.filter((list, i) => i > 0 && list.length < lists[i - 1].length).length,
    outOfOrder: lists.filter((list) => list.some((body, i) => body !== sent[i])).length,
    final: lists.at(-1),
  };
}

// Messages arrive between loads: the pages still join without a gap or a repetition.
async function paginated() {
  const args = { channel: "pages" };
  const bodies = Array.from({ length: 20 }, (_, i) => `old ${String(i).padStart(2, "0")}`);
  await client.mutation(api.messages.send_many, { ...args, bodies });
  const view = mount(({ report }) => {
    const { results, status, loadMore } = usePaginatedQuery(api.messages.page, args, { initialNumItems: 4 });
    report({ bodies: results.map((message) => message.body), status, loadMore });
    return null;
  });
  const send = (body) => client.mutation(api.messages.send, { ...args, author: "r", body });
  let seen = await view.until(({ status }) => status === "CanLoadMore");
  const first = seen.bodies;
  const problems = [];
  for (let i = 0; seen.status !== "Exhausted"; i += 1) {
    await send(`new ${i}`);
    seen = await view.until(({ bodies }) => bodies.includes(`new ${i}`));
    seen.loadMore(4);
    const known = seen.bodies.length;
    seen = await view.until(({ bodies, status }) => status === "Exhausted"
      || (status === "CanLoadMore" && bodies.length > known));
    if (new Set(seen.bodies).size !== seen.bodies.length) problems.push(["repeated", seen.bodies]);
  }
  const all = await client.query(api.messages.list, args);
  const victim = all[3];
  await client.mutation(api.messages.remove, { id: victim._id });
  seen = await view.until(({ bodies }) => !bodies.includes(victim.body));
  const now = (await client.query(api.messages.list, args)).map((message) => message.body);
  view.unmount();
  return {
    first,
    problems,
    status: seen.status,
    joined: JSON.stringify(seen.bodies) === JSON.stringify(now),
    length: seen.bodies.length,
  };
}

async function action() {
  const view = mount(({ report }) => {
    report({ announce: useAction(api.messages.announce) });
    return null;
  });
  const { announce } = await view.until(() => true);
  const result = await announce({ channel: "react actions", body: "hear" });
  view.unmount();
  return result;
}

class Boundary extends Component {
  state = { error: null };

  static getDerivedStateFromError(error) {
    return { error };
  }

  render() {
    const { error } = this.state;
    this.props.report(error && { message: error.message, data: error.data });
    return error ? h("p", null, "failed") : this.props.children;
  }
}

async function errorBoundary(query) {
  const Failing = () => {
    useQuery(query);
    return h("p", null, "fine");
  };
  const view = mount(({ report }) => h(Boundary, { report }, h(Failing)));
  const caught = await view.until((error) => error !== null);
  view.unmount();
  return caught;
}

drive(async () => ({
  list: await liveList(),
  optimistic: await optimistic(),
  paginated: await paginated(),
  action: await action(),
  boundary: {
    application: await errorBoundary(api.errors.application),
    plain: await errorBoundary(api.errors.plain),
  },
}));
