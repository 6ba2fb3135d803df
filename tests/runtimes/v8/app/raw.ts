// Syscalls as they are, from each kind of function.
import { v } from "convex/values";
import { queryGeneric as query, mutationGeneric as mutation, actionGeneric as action }
  from "convex/server";

declare const Convex: any;

export async function answerOf(op: string, args: string, isSync: boolean) {
  try {
    return { ok: isSync ? Convex.syscall(op, args) : await Convex.asyncSyscall(op, args) };
  } catch (error: any) {
    return { error: error.message };
  }
}

const args = { op: v.string(), args: v.string(), isSync: v.boolean() };
const handler = async (_: any, asked: any) => await answerOf(asked.op, asked.args, asked.isSync);
export const inQuery = query({ args, handler });
export const inMutation = mutation({ args, handler });
export const inAction = action({ args, handler });

/** A query that is opened, read and left. */
const reads = async () => {
  const ask = async (op: string, args: any, isSync = false) => {
    const answer: any = await answerOf(op, JSON.stringify(args), isSync);
    return answer.error ?? JSON.parse(answer.ok);
  };
  const source = { type: "FullTableScan", tableName: "messages", order: null };
  const { queryId } = await ask("1.0/queryStream", { query: { source, operators: [] } }, true);
  const first = await ask("1.0/queryStreamNext", { queryId });
  const known = await ask("1.0/queryCleanup", { queryId }, true);
  const again = await ask("1.0/queryCleanup", { queryId }, true);
  const after = await ask("1.0/queryStreamNext", { queryId });
  return { queryId, body: first.value.body, done: first.done, known, again, after };
};
export const readsInQuery = query({ args: {}, handler: reads });
export const readsInMutation = mutation({ args: {}, handler: reads });
