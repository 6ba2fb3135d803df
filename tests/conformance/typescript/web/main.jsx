// The page of the quickstart: a live list and a form, with references from the generated code.
import { useState } from "react";
import { createRoot } from "react-dom/client";
import { ConvexProvider, ConvexReactClient, useMutation, useQuery } from "convex/react";
import { api } from "../convex/_generated/api";

const client = new ConvexReactClient(location.origin);
const channel = "page";

function Messages() {
  const messages = useQuery(api.messages.list, { channel });
  const send = useMutation(api.messages.send);
  const [body, setBody] = useState("");
  const submit = (event) => {
    event.preventDefault();
    setBody("");
    void send({ channel, author: "page", body });
  };
  return (
    <main>
      <form onSubmit={submit}>
        <input value={body} onChange={(event) => setBody(event.target.value)} />
      </form>
      <ul>{messages?.map((message, i) => <li key={i}>{message}</li>)}</ul>
    </main>
  );
}

createRoot(document.getElementById("root")).render(
  <ConvexProvider client={client}>
    <Messages />
  </ConvexProvider>,
);
