/** Does a subscriber hear of each change of what they may see, of no other, and no longer than their key is good? */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { callRecorded } from "../src/doors/graphql/audit.ts";
import { createChanges } from "../src/doors/graphql/changes.ts";
import { createGraph } from "../src/doors/graphql/graph.ts";
import type { Graph } from "../src/doors/graphql/graph.ts";
import { createStreams } from "../src/doors/graphql/streams.ts";
import type { Streams } from "../src/doors/graphql/streams.ts";
import { identify } from "../src/view.ts";
import { serversOf, startStand } from "./graphql-client.ts";
import type { Stand } from "./graphql-client.ts";
import { BASE_CONFIG, KEYS, keyEntry, until } from "./support/gateway.ts";

let stand: Stand;
beforeAll(async () => {
  stand = await startStand();
});
afterAll(() => stand.close());
beforeEach(() => stand.gateway.rewrite({}));

type Event = {
  readonly event: string;
  readonly data: { data?: { toolsChanged: unknown }; errors?: { extensions: object }[] } | null;
};
type Listening = {
  readonly response: Response;
  readonly events: readonly Event[];
  readonly ended: Promise<void>;
  readonly leave: () => void;
};

const SUBSCRIBE = "subscription($filter: ToolFilter) {toolsChanged(filter: $filter) {revision added removed changed}}";

async function listen(
  query = SUBSCRIBE,
  variables: object = {},
  as: keyof typeof KEYS = "alice",
  accept = "text/event-stream",
): Promise<Listening> {
  const gone = new AbortController();
  const response = await fetch(`${stand.gateway.url}/graphql`, {
    method: "POST",
    headers: { "content-type": "application/json", accept, "x-api-key": KEYS[as] },
    body: JSON.stringify({ query, variables }),
    signal: gone.signal,
  });
  const events: Event[] = [];
  const ended = read(response, events).catch(() => {});
  return { response, events, ended, leave: () => gone.abort() };
}

async function read(response: Response, events: Event[]): Promise<void> {
  let text = "";
  for await (const chunk of response.body ?? []) {
    text += Buffer.from(chunk).toString();
    const blocks = text.split("\n\n");
    text = blocks.pop() ?? "";
    for (const block of blocks) {
      const event = /^event: (.*)$/m.exec(block)?.[1];
      const data = /^data: (.*)$/m.exec(block)?.[1] ?? "";
      if (event !== undefined) events.push({ event, data: data === "" ? null : (JSON.parse(data) as Event["data"]) });
    }
  }
}

const quiet = (): Promise<void> => new Promise((next) => setTimeout(next, 500));
/** The configuration again, with other terms for one tool of docs. */
const withTool = (tool: string, terms: object): object => {
  const servers = serversOf(stand.upstream.url).servers as readonly {
    readonly name: string;
    readonly tools?: object;
  }[];
  const changed = servers.map((server) =>
    server.name === "docs" ? { ...server, tools: { ...server.tools, [tool]: terms } } : server,
  );
  return { servers: changed };
};

describe("a subscriber", () => {
  test("hears which tools came, went and changed, once for each change", async () => {
    const { response, events, leave, ended } = await listen();
    expect(response.status).toBe(200);
    expect(response.headers.get("content-type")).toMatch("text/event-stream");
    await stand.gateway.rewrite(withTool("write_file", { permissions: ["files:read"] }));
    await until(() => events.length === 1, "a tool came");
    await stand.gateway.rewrite(withTool("sorry", { permissions: ["files:write"] }));
    await until(() => events.length === 2, "one went, and one came to be gone");
    await stand.gateway.rewrite(withTool("fails", { tags: ["flaky"] }));
    await until(() => events.length === 3, "a tool changed");
    const revision = expect.stringMatching(/./) as string;
    const none = { revision, added: [], removed: [], changed: [] };
    expect(events.map(({ event, data }) => [event, data?.data?.toolsChanged])).toEqual([
      ["next", { ...none, added: ["docs__write_file"] }],
      ["next", { ...none, removed: ["docs__sorry", "docs__write_file"] }],
      ["next", { ...none, added: ["docs__sorry"], changed: ["docs__fails"] }],
    ]);
    leave();
    await ended;
  });

  test("hears nothing of what they may not see, nor of what their filter leaves out", async () => {
    const everything = await listen();
    const filtered = await listen(SUBSCRIBE, { filter: { readOnly: true } });
    await stand.gateway.rewrite(withTool("write_file", { permissions: ["files:write"], tags: ["other"] }));
    await quiet();
    expect(everything.events).toEqual([]);
    await stand.gateway.rewrite(withTool("fails", { tags: ["flaky"] }));
    await until(() => everything.events.length === 1, "the other listener heard");
    expect(filtered.events).toEqual([]);
    everything.leave();
    filtered.leave();
  });

  test("hears of many changes at once, once", async () => {
    const { events, leave } = await listen();
    const beganMs = performance.now();
    for (const tag of ["a", "b", "c", "d"]) {
      // oxlint-disable-next-line no-await-in-loop -- a burst, in order
      await stand.gateway.rewrite(withTool("fails", { tags: [tag] }));
    }
    const tookMs = performance.now() - beganMs;
    await until(() => events.length > 0, "a change is heard");
    await quiet();
    // one in 200 ms
    expect(events.length).toBeLessThanOrEqual(Math.ceil(tookMs / 200) + 1);
    leave();
  });

  test("whose key is revoked is told so, and the stream ends", async () => {
    const { events, ended } = await listen();
    await stand.gateway.rewrite({ auth: { keys: ["oscar", "ada", "root"].map(keyEntry) } });
    await ended;
    expect(events).toMatchObject([
      { event: "next", data: { errors: [{ extensions: { code: "unauthenticated", executed: "no" } }] } },
      { event: "complete", data: null },
    ]);
  });

  test("whose permission is withdrawn sees the tools go", async () => {
    const { events, leave } = await listen();
    await stand.gateway.rewrite({ roles: { ...BASE_CONFIG.roles, analyst: [] } });
    await until(() => events.length === 1, "the tools are gone");
    const names = ["docs__fails", "docs__listFolder", "docs__read_file", "docs__slow", "docs__sorry"];
    expect(events[0]?.data?.data?.toolsChanged).toMatchObject({ removed: names });
    leave();
  });
});

describe("a stream", () => {
  test("is not opened for who takes no stream: 406, with a code", async () => {
    const { response } = await listen(SUBSCRIBE, {}, "alice", "application/json");
    expect(response.status).toBe(406);
  });

  test("carries the one result of a query for who takes only a stream", async () => {
    const { response, events, ended } = await listen("{me {id}}");
    await ended;
    expect(response.headers.get("content-type")).toMatch("text/event-stream");
    expect(events).toEqual([
      { event: "next", data: { data: { me: { id: "alice" } } } },
      { event: "complete", data: null },
    ]);
  });

  test("is an ordinary refusal where the document is wrong", async () => {
    const { response } = await listen("subscription {nothing}");
    expect(response.status).toBe(400);
    expect(response.headers.get("content-type")).toMatch("application/graphql-response+json");
  });

  test("is one of twenty that a principal may have, and leaves room when it ends", async () => {
    const opened = await Promise.all(Array.from({ length: 20 }, () => listen(SUBSCRIBE, {}, "oscar")));
    expect(opened.map(({ response }) => response.status)).toEqual(Array.from({ length: 20 }, () => 200));
    const refused = await listen(SUBSCRIBE, {}, "oscar");
    expect(refused.response.status).toBe(503);
    expect((await listen(SUBSCRIBE, {}, "ada")).response.status).toBe(200);
    for (const { leave } of opened) leave();
    await until(async () => {
      const { response, leave } = await listen(SUBSCRIBE, {}, "oscar");
      leave();
      return response.status === 200;
    }, "there is room again");
  });

  const opened: readonly [string, (streams: Streams, graph: Graph) => Promise<AsyncGenerator<unknown>>][] = [
    ["of tools", (streams, graph) => createChanges(streams)(graph, {})],
    ["of calls", (streams, graph) => callRecorded(streams)(null, {}, { graph })],
  ];
  test.each(opened)("%s that its client left before it began is one no more", async (_, open) => {
    const streams = createStreams();
    const heard = listeners();
    const left: AsyncGenerator<unknown>[] = [];
    // more than one principal may have
    for (let index = 0; index < 25; index++) {
      const gone = new AbortController();
      const graph = await graphOf(gone.signal, heard);
      if (index % 2 === 0) gone.abort();
      left.push(await open(streams, graph));
      gone.abort();
    }
    expect(heard.count).toBe(0);
    const kept = Array.from({ length: 19 }, () => streams("root"));
    // one that began, and is told twice that it ends, gives back one place
    const gone = new AbortController();
    const begun = await open(streams, await graphOf(gone.signal, heard));
    const first = begun.next();
    expect(() => streams("root")).toThrow("Too many");
    gone.abort();
    await Promise.all([first, begun.return(undefined)]);
    kept.push(streams("root"));
    expect(() => streams("root")).toThrow("Too many");
    for (const end of kept) end();
    for (const stream of left) await stream.return(undefined);
  });
});

/** How many listen for snapshots. */
function listeners() {
  const { control } = stand.gateway.gateway;
  const heard = {
    count: 0,
    onSnapshot: (listener: Parameters<typeof control.onSnapshot>[0]) => {
      const stop = control.onSnapshot(listener);
      heard.count++;
      let listens = true;
      return () => {
        if (listens) heard.count--;
        listens = false;
        stop();
      };
    },
  };
  return heard;
}

/** As the door makes it for root. */
async function graphOf(signal: AbortSignal, { onSnapshot }: ReturnType<typeof listeners>): Promise<Graph> {
  const gateway = { ...stand.gateway.gateway, control: { ...stand.gateway.gateway.control, onSnapshot } };
  const asked = {
    interface: "graphql",
    protocol: "",
    path: "/graphql",
    ip: "127.0.0.1",
    credential: { kind: "secret", value: KEYS.root },
    traceparent: null,
    tracestate: null,
    signal,
  } as const;
  const who = await identify(gateway, asked);
  if (!who.ok) throw who.refusal;
  return createGraph(gateway, asked, who.value);
}
