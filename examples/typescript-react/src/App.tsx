import { useState, type FormEvent } from "react";
import { insertAtTop, useMutation, usePaginatedQuery, useQuery } from "convex/react";
import { ConvexError } from "convex/values";
import { api } from "../convex/_generated/api";
import type { Id } from "../convex/_generated/dataModel";

const PAGE_SIZE = 10;
const SENDING = "sending ";

export function App() {
  const [author, setAuthor] = useState("Ada");
  return (
    <main>
      <h1>Guest book</h1>
      <Authors />
      <Composer author={author} onAuthor={setAuthor} />
      <Messages />
    </main>
  );
}

function Authors() {
  const authors = useQuery(api.messages.authors); // undefined until it has arrived
  if (authors === undefined) return <p id="authors">…</p>;
  return <p id="authors">{authors.length ? `Written by ${authors.join(", ")}` : "Nobody yet"}</p>;
}

/** `messages:send`, which shows the message before the server has answered. */
function useSend() {
  return useMutation(api.messages.send).withOptimisticUpdate((localQueryStore, message) => {
    const item = {
      ...message,
      _id: (SENDING + crypto.randomUUID()) as Id<"messages">,
      _creationTime: Date.now(),
    };
    insertAtTop({ paginatedQuery: api.messages.page, localQueryStore, item });
  });
}

function Composer({ author, onAuthor }: { author: string; onAuthor: (name: string) => void }) {
  const [body, setBody] = useState("");
  const [problem, setProblem] = useState("");
  const send = useSend();

  const submit = async (event: FormEvent) => {
    event.preventDefault();
    setBody("");
    setProblem("");
    try {
      await send({ author, body });
    } catch (error) {
      if (!(error instanceof ConvexError)) throw error;
      setProblem(`A message has at most ${error.data.most} characters.`);
      setBody(body);
    }
  };

  return (
    <form onSubmit={submit}>
      <input name="author" aria-label="Name" value={author} required
        onChange={(event) => onAuthor(event.target.value)} />
      <input name="body" aria-label="Message" placeholder="Say something" value={body} required
        onChange={(event) => setBody(event.target.value)} />
      <button>Send</button>
      <p id="problem" role="alert">{problem}</p>
    </form>
  );
}

function Messages() {
  const { results, status, loadMore } = usePaginatedQuery(
    api.messages.page,
    {},
    { initialNumItems: PAGE_SIZE },
  );
  return (
    <>
      <ul>
        {results.map(({ _id, _creationTime, author, body }) => (
          <li key={_id} className={_id.startsWith(SENDING) ? "sending" : "sent"}>
            <b>{author}</b> <span>{body}</span>
            <time>{new Date(_creationTime).toLocaleTimeString()}</time>
          </li>
        ))}
      </ul>
      {status === "Exhausted" ? (
        <p id="end">That is all.</p>
      ) : (
        <button id="more" disabled={status !== "CanLoadMore"} onClick={() => loadMore(PAGE_SIZE)}>
          Older messages
        </button>
      )}
    </>
  );
}
