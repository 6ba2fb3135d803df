// Pages stay adjacent: no item missed, none shown twice, whatever changes and however the connection breaks.

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { connect, failed, recorder, settled, stopTheClock, updated } from "./harness.mjs";

let clock;
beforeEach(() => (clock = stopTheClock()));

const page = (items, continueCursor, more = {}) => {
  const { journal = `to ${continueCursor}`, ...result } = more;
  return updated({ page: items, continueCursor, isDone: false, splitCursor: null, pageStatus: null, ...result }, { journal });
};

/** A pagination of two items per page, with its first page loaded. */
async function paginating(first = page([1, 2], "c2")) {
  const world = connect();
  const onPages = recorder();
  const onError = recorder();
  const pages = world.cupola.paginate("items:list", { of: "x" }, { pageSize: 2 }, onPages, onError);
  world.last().open();
  const asked = world.last().read();
  world.last().transition(10, { 0: first });
  await settled();
  return { ...world, onPages, onError, pages, asked };
}

const optionsOf = (message) => message.modifications.map(({ args }) => args?.[0].paginationOpts);

test("the first page starts at the beginning", async () => {
  const { asked, onPages, pages } = await paginating();
  assert.deepEqual(asked[1].modifications[0].args, [{ of: "x", paginationOpts: { cursor: null, id: 0, numItems: 2 } }]);
  assert.deepEqual(onPages.take(), [[[1, 2], "CanLoadMore"]]);
  assert.equal(pages.status, "CanLoadMore");
});

test("the next page starts where the last one ended, until there is none", async () => {
  const { last, onPages, pages } = await paginating();
  onPages.take();
  assert.equal(pages.loadMore(5), true);
  assert.equal(pages.loadMore(), false, "one at a time");
  await settled();
  assert.deepEqual(optionsOf(last().read()[0]), [{ cursor: "c2", id: 0, numItems: 5 }]);
  assert.deepEqual(onPages.take(), [[[1, 2], "LoadingMore"]]);
  last().transition(11, { 1: page([3], "end", { isDone: true }) });
  await settled();
  assert.deepEqual(onPages.take(), [[[1, 2, 3], "Exhausted"]]);
  assert.equal(pages.loadMore(), false);
});

test("pages that change together are shown together", async () => {
  const { last, onPages, pages } = await paginating();
  pages.loadMore();
  await settled();
  last().transition(11, { 1: page([3, 4], "c4") });
  await settled();
  onPages.take();
  last().transition(12, { 0: page([1, 1.5], "c2"), 1: page([2, 3, 4], "c4") });
  await settled();
  assert.deepEqual(onPages.take(), [[[1, 1.5, 2, 3, 4], "CanLoadMore"]]);
});

test("after a reconnect each page is asked for with its journal", async () => {
  const { last, onPages, pages } = await paginating();
  pages.loadMore();
  await settled();
  last().transition(11, { 1: page([3, 4], "c4") });
  await settled();
  last().lose();
  clock.pass(500);
  last().open();
  const { modifications } = last().read()[1];
  assert.deepEqual(modifications.map(({ journal, args }) => [args[0].paginationOpts.cursor, journal]),
    [[null, "to c2"], ["c2", "to c4"]]);
  onPages.take();
  last().transition(12, { 0: page([1, 1.5, 2], "c2"), 1: page([4], "c4") });
  await settled();
  assert.deepEqual(onPages.take(), [[[1, 1.5, 2, 4], "CanLoadMore"]]);
});

test("a page that grew too long is split, and its halves take its place together", async () => {
  const { last, onPages } = await paginating();
  onPages.take();
  last().transition(11, { 0: page([1, 1.2, 1.4, 1.6, 2], "c2", { splitCursor: "c1.4" }) });
  await settled();
  assert.deepEqual(onPages.take(), [[[1, 1.2, 1.4, 1.6, 2], "CanLoadMore"]]);
  const [message] = last().read();
  assert.deepEqual(optionsOf(message), [
    { cursor: null, endCursor: "c1.4", id: 0, numItems: 2 },
    { cursor: "c1.4", endCursor: "c2", id: 0, numItems: 2 },
  ]);
  last().transition(12, { 1: page([1, 1.2, 1.4], "c1.4") });
  await settled();
  assert.deepEqual(onPages.take(), [[[1, 1.2, 1.4, 1.6, 2], "CanLoadMore"]], "one half is not enough");
  last().transition(13, { 2: page([1.6, 2], "c2") });
  await settled();
  assert.deepEqual(onPages.take(), [[[1, 1.2, 1.4, 1.6, 2], "CanLoadMore"]]);
  assert.deepEqual(last().read()[0].modifications, [{ type: "Remove", queryId: 0 }]);
});

test("an incomplete page is not shown until it is split", async () => {
  const { last, onPages, pages } = await paginating(
    page([1], "c2", { splitCursor: "c1", pageStatus: "SplitRequired" }),
  );
  assert.deepEqual(onPages.take(), [[[], "LoadingMore"]]);
  assert.equal(pages.loadMore(), false);
  last().transition(11, { 1: page([1], "c1"), 2: page([2], "c2") });
  await settled();
  assert.deepEqual(onPages.take(), [[[1, 2], "CanLoadMore"]]);
});

test("an invalid cursor starts over at the first page", async () => {
  const { last, onPages, onError, pages } = await paginating();
  pages.loadMore();
  await settled();
  last().read();
  onPages.take();
  last().transition(11, { 0: failed("InvalidCursor: this query did not make it"), 1: failed("InvalidCursor") });
  await settled();
  const [message] = last().read();
  assert.deepEqual(optionsOf(message).filter(Boolean), [{ cursor: null, id: 1, numItems: 2 }]);
  assert.deepEqual(message.modifications.map(({ type }) => type).sort(), ["Add", "Remove", "Remove"]);
  const { queryId } = message.modifications.find(({ type }) => type === "Add");
  last().transition(12, { [queryId]: page([7], "c7") });
  await settled();
  assert.deepEqual(onPages.take().at(-1), [[7], "CanLoadMore"]);
  assert.deepEqual(onError.take(), []);
});

test("other errors, and an invalid cursor nobody gave, go to onError", async () => {
  const { onError } = await paginating(failed("InvalidCursor: a bug of the server"));
  assert.match(onError.take()[0].message, /a bug of the server/);
  const { onError: second } = await paginating(failed("boom"));
  assert.match(second.take()[0].message, /boom/);
});

test("two paginations of one query do not disturb each other", async () => {
  const { cupola, last, asked } = await paginating();
  cupola.paginate("items:list", { of: "x" }, { pageSize: 2 }, () => {});
  await settled();
  assert.deepEqual([...optionsOf(asked[1]), ...optionsOf(last().read()[0])].map(({ id }) => id), [0, 1]);
});

test("stopping takes its pages out of the query set", async () => {
  const { last, onPages, pages } = await paginating();
  onPages.take();
  pages.stop();
  await settled();
  assert.deepEqual(last().read()[0].modifications, [{ type: "Remove", queryId: 0 }]);
  assert.equal(pages.loadMore(), false);
  assert.deepEqual(onPages.take(), []);
});
