/** The promise: each principal is told of the calls that policy lets them read, in whatever form they ask, and of no other. */
import { mkdir, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { mkdtempSync, rmSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { portcullis } from "./cli-io.ts";
import { discovered, fixtureServer, keyEntry, keyOf, startGateway, until } from "./support/gateway.ts";
import type { TestGateway } from "./support/gateway.ts";
import { startFixture } from "./support/upstreams/fixture.ts";
import type { Fixture } from "./support/upstreams/fixture.ts";

/** Reads of the trail are allowed to everybody; of which rows, only to three of them. */
const POLICY = `package portcullis

default decision := {"allow": false}

decision := {"allow": true, "reasons": ["everybody"], "obligations": obligations}

default obligations := {}

obligations := {"rows": rows[input.principal.id]} if input.target.kind == "calls"

rows := {"alice": "own", "oscar": "tenant", "ada": "all"}
`;
const PEOPLE = [
  { id: "alice", tenant: "acme" },
  { id: "oscar", tenant: "acme" },
  { id: "ada", tenant: "hq" },
  { id: "bob", tenant: "other" },
] as const;
type Person = (typeof PEOPLE)[number]["id"];
/** Whose rows each may see. */
const MAY_SEE: { readonly [viewer: string]: readonly Person[] } = {
  alice: ["alice"],
  oscar: ["alice", "oscar"],
  ada: ["alice", "oscar", "ada", "bob"],
};

let fixture: Fixture;
let gateway: TestGateway;
const folder = mkdtempSync(join(tmpdir(), "portcullis-rows-"));
const config = {
  policies: join(folder, "policies"),
  principals: PEOPLE,
  auth: { keys: PEOPLE.map(({ id }) => keyEntry(id)) },
};
beforeAll(async () => {
  await mkdir(config.policies);
  await writeFile(join(config.policies, "rows.rego"), POLICY);
  fixture = await startFixture();
  gateway = await startGateway({ ...config, servers: [fixtureServer(fixture)] });
  await discovered(gateway, "fixture");
  for (const { id } of PEOPLE) for (let turn = 0; turn < 3; turn++) await call(id);
});
afterAll(async () => {
  await gateway.close();
  await fixture.close();
  rmSync(folder, { recursive: true });
});

async function call(as: Person, at: TestGateway = gateway): Promise<string> {
  const answer = await fetch(`${at.url}/tools/fixture__echo/call`, {
    method: "POST",
    headers: { "content-type": "application/json", "x-api-key": keyOf(as) },
    body: JSON.stringify({ arguments: { text: "x" } }),
  });
  return answer.headers.get("portcullis-call-id") ?? "";
}

type Row = {
  readonly callId: string;
  readonly principal: string;
  readonly operation: string;
  readonly outcome: string;
};
type Told = {
  readonly data: {
    readonly calls: {
      readonly totalCount: number;
      readonly behind: boolean;
      readonly edges: readonly { readonly node: Row }[];
    };
    readonly callStats: { readonly groups: readonly { readonly principal: string; readonly count: number }[] };
  } | null;
  readonly errors?: readonly { readonly extensions: { readonly [name: string]: unknown } }[];
};

async function ask(as: Person, query: string, variables: object = {}): Promise<Told> {
  const answer = await fetch(`${gateway.url}/graphql`, {
    method: "POST",
    headers: { "content-type": "application/json", "x-api-key": keyOf(as) },
    body: JSON.stringify({ query, variables }),
  });
  return (await answer.json()) as Told;
}

const CALLS =
  "query($filter: CallFilter) {calls(filter: $filter, first: 100) {totalCount behind edges {node {callId principal operation outcome}}}}";
const STATS = "query($filter: CallFilter) {callStats(filter: $filter, by: [PRINCIPAL]) {groups {principal count}}}";
const TOOLS_CALL = { operation: "tools/call" };

describe("policy's rows", () => {
  test.each(["alice", "oscar", "ada"] as const)(
    "bound what %s is told in pages, counts and statistics",
    async (viewer) => {
      const seen = MAY_SEE[viewer] ?? [];
      const filters = [TOOLS_CALL, ...PEOPLE.map(({ id }) => ({ ...TOOLS_CALL, principal: id }))];
      for (const filter of [...filters, ...PEOPLE.map(({ tenant }) => ({ ...TOOLS_CALL, tenant }))]) {
        const wanted = PEOPLE.filter(
          ({ id, tenant }) =>
            seen.includes(id) &&
            (!("principal" in filter) || filter.principal === id) &&
            (!("tenant" in filter) || filter.tenant === tenant),
        ).map(({ id }) => id);
        const { data } = await ask(viewer, CALLS, { filter });
        const name = `${viewer} ${JSON.stringify(filter)}`;
        expect(new Set(data?.calls.edges.map(({ node }) => node.principal)), name).toEqual(new Set(wanted));
        expect(data?.calls.totalCount, name).toBe(data?.calls.edges.length);
        const { data: numbers } = await ask(viewer, STATS, { filter });
        const counted = Object.fromEntries(
          numbers?.callStats.groups.map(({ principal, count }) => [principal, count]) ?? [],
        );
        expect(Object.keys(counted).toSorted(), name).toEqual(wanted.toSorted());
        expect(
          Object.values(counted).reduce((sum, count) => sum + count, 0),
          name,
        ).toBe(data?.calls.totalCount);
      }
    },
  );

  test("that are not said are none: pages, numbers and streams are refused, and recorded", async () => {
    for (const query of [CALLS, STATS]) {
      const { data, errors } = await ask("bob", query);
      expect(data).toBeNull();
      expect(errors).toMatchObject([{ extensions: { code: "forbidden", reasons: ["everybody", "rows_missing"] } }]);
    }
    const { events, over } = await subscribe("bob", {});
    await until(over, "the refusal");
    expect(events).toMatchObject([
      { errors: [{ extensions: { code: "forbidden", reasons: ["everybody", "rows_missing"] } }] },
    ]);
    const refused = (await gateway.records()).filter(
      (one) => one["portcullis.principal.id"] === "bob" && one["portcullis.operation"] === "calls/read",
    );
    expect(refused.map((one) => one["portcullis.record"])).toEqual(["refusal", "refusal", "refusal"]);
  });
});

describe("a look at the trail", () => {
  test("is itself in the trail, with what was asked for", async () => {
    await ask("ada", CALLS, { filter: { principal: "alice", outcome: "SUCCESS" } });
    const { data } = await ask("ada", CALLS, { filter: { principal: "ada", operation: "calls/read" } });
    expect(data?.calls.edges.length).toBeGreaterThan(0);
    const looks = (await gateway.records()).filter((one) => one["portcullis.operation"] === "calls/read");
    const texts = looks.map((one) => String(one["gen_ai.tool.call.arguments"]));
    expect(texts.some((text) => text.includes('"principal":"alice"') && text.includes('"outcome":"success"'))).toBe(
      true,
    );
  });

  test("finds what was recorded a moment ago, again and again", async () => {
    for (let turn = 0; turn < 20; turn++) {
      const callId = await call("alice");
      const { data } = await ask("alice", CALLS, { filter: { callId } });
      expect(data?.calls).toMatchObject({
        totalCount: 1,
        behind: false,
        edges: [{ node: { callId, outcome: "SUCCESS" } }],
      });
    }
  });

  test.each([
    ['callStats(bucket: "soon") {more}', "bucket"],
    ["callStats(by: [TOOL, SERVER, VERSION, PRINCIPAL, TENANT]) {more}", "by"],
    ["callStats(first: 0) {more}", "first"],
    ['calls(filter: {traceId: "x"}) {totalCount}', "traceId"],
    ['calls(after: "x") {totalCount}', "cursor"],
  ])("is refused where it asks %s", async (field, word) => {
    const { errors } = await ask("ada", `{${field}}`);
    expect(errors).toMatchObject([
      { extensions: { code: "invalid_request", detail: expect.stringContaining(word) as string } },
    ]);
  });
});

type Event = {
  readonly data?: { readonly callRecorded: { readonly call: Row; readonly missed: number } };
  readonly errors?: readonly object[];
};

async function subscribe(as: Person, filter: object) {
  const gone = new AbortController();
  const response = await fetch(`${gateway.url}/graphql`, {
    method: "POST",
    headers: { "content-type": "application/json", accept: "text/event-stream", "x-api-key": keyOf(as) },
    body: JSON.stringify({
      query:
        "subscription($filter: CallFilter) {callRecorded(filter: $filter) {missed call {callId principal operation outcome}}}",
      variables: { filter },
    }),
    signal: gone.signal,
  });
  const events: Event[] = [];
  let over = false;
  const read = async (): Promise<void> => {
    let text = "";
    // a refusal is no stream
    if (response.headers.get("content-type")?.includes("json") === true)
      return void events.push((await response.json()) as Event);
    for await (const chunk of response.body ?? []) {
      text += Buffer.from(chunk).toString();
      const blocks = text.split("\n\n");
      text = blocks.pop() ?? "";
      for (const block of blocks) {
        const data = /^data: (.+)$/m.exec(block)?.[1];
        if (data !== undefined) events.push(JSON.parse(data) as Event);
      }
    }
  };
  void read()
    .catch(() => {})
    .finally(() => (over = true));
  return { events, over: () => over, leave: () => gone.abort() };
}

const principalsOf = (events: readonly Event[]) => events.map(({ data }) => data?.callRecorded.call.principal);

describe("a subscription", () => {
  test("hears of calls as they end, and of those alone that its principal may see", async () => {
    const streams = {
      alice: await subscribe("alice", TOOLS_CALL),
      oscar: await subscribe("oscar", TOOLS_CALL),
      ada: await subscribe("ada", { ...TOOLS_CALL, principal: "bob" }),
    };
    const [ofBob, ofAlice, ofOscar] = [await call("bob"), await call("alice"), await call("oscar")];
    const ids = (viewer: keyof typeof streams) =>
      streams[viewer].events.map(({ data }) => data?.callRecorded.call.callId);
    await until(() => ids("oscar").includes(ofOscar) && ids("ada").includes(ofBob), "the events");
    expect(ids("alice")).toEqual([ofAlice]);
    expect(ids("oscar")).toEqual([ofAlice, ofOscar]);
    expect(ids("ada")).toEqual([ofBob]);
    for (const { leave } of Object.values(streams)) leave();
  });

  test("is decided anew with each event: policy that narrows it holds at once, and a key that is gone ends it", async () => {
    const stream = await subscribe("oscar", TOOLS_CALL);
    await call("alice");
    await until(() => stream.events.length === 1, "an event");
    await writeFile(join(config.policies, "rows.rego"), POLICY.replace('"oscar": "tenant"', '"oscar": "own"'));
    await gateway.reload();
    await call("alice");
    await call("oscar");
    await until(() => stream.events.length === 2, "another");
    expect(principalsOf(stream.events)).toEqual(["alice", "oscar"]);
    await writeFile(join(config.policies, "rows.rego"), POLICY);
    await gateway.rewrite({ auth: { keys: PEOPLE.filter(({ id }) => id !== "oscar").map(({ id }) => keyEntry(id)) } });
    await call("alice");
    await until(() => stream.over(), "the end");
    expect(stream.events).toHaveLength(3);
    expect(stream.events.at(-1)?.errors).toMatchObject([{ extensions: { code: "unauthenticated" } }]);
    await gateway.rewrite({});
  });
});

describe("from a shell", () => {
  const cli = (...words: readonly string[]) =>
    portcullis([...words, "--config", gateway.configFile, "--url", `http://${gateway.admin}`], {
      env: { PORTCULLIS_KEY: keyOf("ada") },
    });

  test("calls are found by every filter, and counted", async () => {
    const callId = await call("bob");
    const words = ["--principal", "bob", "--tenant", "other", "--tool", "fixture__echo", "--server", "fixture"];
    const more = ["--version", "1.0.0", "--interface", "rest", "--operation", "tools/call", "--outcome", "success"];
    const rest = ["--decision", "allow", "--reason", "everybody", "--first", "1", "--json"];
    const { stdout } = await cli("audit", "query", ...words, ...more, ...rest);
    expect(JSON.parse(stdout)).toMatchObject({ rows: [{ callId, principal: "bob" }] });
    const counted = await cli(
      "audit",
      "query",
      "--operation",
      "tools/call",
      "--by",
      "principal,outcome",
      "--bucket",
      "1h",
    );
    expect(counted.stdout).toMatch(/^FROM +PRINCIPAL +OUTCOME +CALLS +REFUSED +ERRORS +P50 MS +P95 MS\n/);
    expect(counted.stdout).toMatch(/ bob +success +\d+ +0 +0 /);
    expect(await cli("audit", "query", "--by", "shoe")).toMatchObject({ code: 2 });
    expect(await cli("audit", "query", "--decision", "maybe")).toMatchObject({ code: 2 });
    expect(await cli("audit", "query", "--by", "tool", "--bucket", "soon")).toMatchObject({ code: 2 });
  });

  test("the index is built anew", async () => {
    expect(await cli("audit", "reindex")).toMatchObject({ code: 0, stderr: "The index is built.\n" });
    const reindexed = (await gateway.records()).filter((one) => one["portcullis.operation"] === "audit/reindex");
    expect(reindexed.map((one) => one["portcullis.record"])).toEqual(["intent", "outcome"]);
  });

  test("a tail that follows prints what ends, and ends with its gateway", async () => {
    const other = await startGateway({ ...config, servers: [fixtureServer(fixture)] });
    await discovered(other, "fixture");
    const earlier = await call("bob", other);
    let printed = "";
    const words = ["audit", "tail", "--follow", "--operation", "tools/call", "--json", "--config", other.configFile];
    const running = portcullis([...words, "--url", `http://${other.admin}`], {
      env: { PORTCULLIS_KEY: keyOf("ada") },
      onStdout: (text) => void (printed += text),
    });
    await until(() => printed.includes(earlier), "the latest");
    const calls = [await call("bob", other), await call("alice", other)];
    await until(() => calls.every((callId) => printed.includes(callId)), "what ended since");
    const ids = printed
      .trim()
      .split("\n")
      .map((line) => (JSON.parse(line) as Row).callId);
    expect(ids).toEqual([earlier, ...calls]);
    await other.close();
    expect(await running).toMatchObject({ code: 1, stderr: expect.stringMatching(/gateway/) as string });
  });

  test("a tail that may not be read says why, and ends", async () => {
    const words = ["audit", "tail", "--follow", "--config", gateway.configFile, "--url", `http://${gateway.admin}`];
    expect(await portcullis(words, { env: { PORTCULLIS_KEY: keyOf("bob") } })).toMatchObject({
      code: 1,
      stderr: expect.stringContaining("forbidden") as string,
    });
  });
});
