/**
 * The promise: of forty secrets that callers, operators and servers bring along, not one is found in anything that the
 * gateway writes, sends to a collector, shows or logs, in any encoding. And all are found where nothing is masked.
 */
import { mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { pino } from "pino";
import { exportLines } from "../src/audit/export-file.ts";
import type { Json } from "../src/model.ts";
import { ALL, CONFIGURED, findPlanted, HEADERS, MARKED, NAMED, NAMES, SHAPED, UPSTREAM } from "./planted.ts";
import { post } from "./support/ask.ts";
import { BASE_CONFIG, discovered, fixtureServer, keyEntry, KEYS, startGateway, until } from "./support/gateway.ts";
import type { TestGateway } from "./support/gateway.ts";
import { startFixture } from "./support/upstreams/fixture.ts";
import type { Fixture } from "./support/upstreams/fixture.ts";

const POLICY = `package portcullis

default decision := {"allow": false, "reasons": ["nothing allows it"], "obligations": {"mask_audit": ["/arguments/byPolicy"]}}

decision := {
	"allow": true,
	"reasons": [concat(" ", ["asked with", input.arguments.byPolicy, input.arguments.jwt])],
	"obligations": {"mask_audit": ["/arguments/byPolicy"]},
} if {
	input.principal.id == "alice"
	input.arguments
} else := {"allow": true} if input.principal.id in {"alice", "root"}
`;
const hidden = { writeOnly: { writeOnly: true }, formatPassword: { type: "string", format: "password" } };
const inputSchema = {
  type: "object",
  properties: { ...hidden, list: { items: { properties: { sensitive: { "x-sensitive": true } } } } },
};
const tools = ["answer", "fail", "error"].map((name) => ({
  name,
  description: name,
  inputSchema,
  outputSchema: { type: "object", properties: { ticket: { "x-secret": true } } },
}));

/** What a caller brings: each planted secret in its place. */
const ARGUMENTS = {
  deep: { ...NAMED },
  text: `use ${SHAPED["aws"]} and ${SHAPED["github"]}`,
  notes: [SHAPED["openai"], { more: SHAPED["slack"] }, SHAPED["google"], SHAPED["pem"]],
  jwt: SHAPED["jwt"],
  url: `https://joe:${SHAPED["userinfo"]}@db.example/x?sig=${SHAPED["signature"]}`,
  blob: Buffer.from(`value ${SHAPED["inBase64"]}`).toString("base64"),
  hex: Buffer.from(SHAPED["inHex"] ?? "").toString("hex"),
  percent: encodeURIComponent(`the key: ${SHAPED["inPercent"]}`),
  writeOnly: MARKED["writeOnly"],
  formatPassword: MARKED["formatPassword"],
  list: [{ sensitive: MARKED["sensitive"] }],
  byPolicy: MARKED["byPolicy"],
} as unknown as { readonly [name: string]: Json };

/** A server repeats what it was told, plainly and encoded, and adds its own. */
const echoed = Object.values({ ...NAMED, ...MARKED }).flatMap((one) => [
  one,
  Buffer.from(one).toString("base64"),
  Buffer.from(one).toString("hex"),
  encodeURIComponent(one),
]);
const answer = (isError: boolean) => () => ({
  result: {
    isError,
    content: [
      { type: "text", text: `${echoed.slice(0, 8).join(" ")} ${UPSTREAM["toolError"]}` },
      { type: "resource_link", uri: `https://files.example/a?token=${UPSTREAM["link"]}`, name: "a" },
      { type: "text", text: JSON.stringify({ ticket: UPSTREAM["structured"] }) },
      {
        type: "resource",
        resource: { uri: "a://b", mimeType: "x/y", blob: Buffer.from(UPSTREAM["blob"] ?? "").toString("base64") },
      },
    ],
    structuredContent: { ticket: UPSTREAM["structured"] },
  },
});
const handlers = {
  answer: answer(false),
  fail: answer(true),
  error: () => ({
    error: { code: -32050, message: `no: ${echoed.slice(0, 4).join(" ")} ${UPSTREAM["errorMessage"]}` },
  }),
};

type Written = { readonly [place: string]: string };
let fixture: Fixture;
let folder: string;
/** Everything that went in, as it went over the wire. */
let heard: string;
let masked: Written;
let open: Written;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "planted-"));
  await writeFile(join(folder, "p.rego"), POLICY);
  fixture = await startFixture({ tools, handlers });
  masked = await everything({ arguments: "masked", results: "masked" });
  open = await everything({ arguments: "full", results: "full" });
  heard = JSON.stringify([
    fixture.state.arrivals,
    Object.values(HEADERS),
    Object.values(CONFIGURED),
    Object.values(NAMES),
    [handlers.answer(), handlers.fail(), handlers.error(), UPSTREAM["statusBody"]],
  ]);
}, 120_000);
afterAll(async () => {
  await fixture.close();
  await rm(folder, { recursive: true, force: true });
});

/** A gateway that keeps that much, each way of asking it, and all that it wrote, sent, showed and logged meanwhile. */
async function everything(audit: object): Promise<Written> {
  const logs: string[] = [];
  const log = pino({ level: "trace" }, { write: (line: string) => void logs.push(line) });
  const collector = await rawCollector();
  const url = new URL(fixture.url);
  url.searchParams.set("token", CONFIGURED["upstreamQuery"] ?? "");
  const headers = { authorization: `Bearer ${CONFIGURED["upstreamHeader"]}` };
  const ill = await illServer();
  const gateway = await startGateway(
    {
      policies: folder,
      principals: BASE_CONFIG.principals,
      servers: [
        fixtureServer(fixture, {
          audit,
          instances: [{ http: { url: url.href, headers: { authorization: "Bearer ${PLANTED}" }, allowPrivate: true } }],
        }),
        {
          name: "ill",
          permissions: ["demo:use"],
          instances: [{ http: { url: ill.url, headers, allowPrivate: true } }],
        },
      ],
      audit: { export: [{ otlp: collector.url, headers: { authorization: CONFIGURED["collectorHeader"] } }] },
      auth: { keys: ["alice", "oscar", "ada", "root"].map(keyEntry) },
    },
    { log, env: { PLANTED: CONFIGURED["upstreamHeader"] ?? "" } },
  );
  await discovered(gateway, "fixture");
  const answers = await asked(gateway);
  const metrics = await fetch(`http://${gateway.admin}/metrics`, { headers: { "x-api-key": KEYS.root } });
  const shown = [await metrics.text(), JSON.stringify(await gateway.gateway.control.health())];
  await until(() => collector.bodies.join("").includes("fixture__error"), "the collector has the last of it");
  await gateway.stop();
  const directory = join(gateway.folder, "data/audit");
  const spool = await Promise.all((await readdir(directory)).map((file) => readFile(join(directory, file), "utf8")));
  const exported = await Array.fromAsync(exportLines(directory, "jsonl", { sinceMs: null, untilMs: null }));
  await gateway.clean();
  await collector.close();
  await ill.close();
  return {
    spool: spool.join(""),
    spans: collector.bodies.join(""),
    exported: exported.join("\n"),
    metrics: shown.join("\n"),
    logs: logs.join(""),
    refusals: answers.join("\n"),
  };
}

/** Every door and way to be refused; resolves to what callers were told where they were refused. */
async function asked(gateway: TestGateway): Promise<readonly string[]> {
  const told: string[] = [];
  const carried = {
    tracestate: HEADERS["tracestate"] ?? "",
    baggage: HEADERS["baggage"] ?? "",
    cookie: HEADERS["cookie"] ?? "",
  };
  const rest = async (path: string, key: string | null, args: object, more: Record<string, string> = {}) => {
    const { response, json } = await post(`${gateway.url}${path}`, key, { arguments: args }, { ...carried, ...more });
    if (!response.ok) told.push(JSON.stringify(json));
  };
  const mcp = async (name: string, id: string, key: string) => {
    const _meta = {
      "io.modelcontextprotocol/protocolVersion": "2026-07-28",
      "io.modelcontextprotocol/clientCapabilities": {},
    };
    const body = { jsonrpc: "2.0", id, method: "tools/call", params: { name, arguments: ARGUMENTS, _meta } };
    const own = { "mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": name };
    await post(`${gateway.url}/mcp`, key, body, { ...own, ...carried });
  };
  for (const name of ["answer", "fail", "error"]) {
    await rest(`/tools/fixture__${name}/call`, KEYS.alice, ARGUMENTS);
    await mcp(`fixture__${name}`, HEADERS["requestId"] ?? "", KEYS.alice);
  }
  await rest("/tools/fixture__answer/call", HEADERS["wrongKey"] ?? "", ARGUMENTS);
  await rest("/tools/fixture__answer/call", HEADERS["bearer"] ?? "", ARGUMENTS);
  await rest("/tools/fixture__answer/call", KEYS.oscar, ARGUMENTS);
  await rest("/tools/ill__answer/call", KEYS.alice, ARGUMENTS);
  await rest(`/tools/${NAMES["tool"]}/call`, KEYS.alice, {});
  await rest(`/tools/fixture__answer/call?version=${NAMES["version"]}`, KEYS.alice, {});
  await post(`${gateway.url}/graphql`, KEYS.alice, {
    query: `mutation($a: JSON!) { callTool(tool: "fixture__error", arguments: $a) { __typename } }`,
    variables: { a: ARGUMENTS },
  });
  return told;
}

async function rawCollector() {
  const bodies: string[] = [];
  const server = createServer((request, response) => {
    request.on("data", (chunk: Buffer) => bodies.push(chunk.toString("latin1")));
    request.on("end", () => response.end());
  });
  return { bodies, ...(await listening(server)) };
}

/** Says no to everything, and why. */
async function illServer() {
  return listening(
    createServer((_, response) => void response.writeHead(401).end(`bad token ${UPSTREAM["statusBody"]}`)),
  );
}

async function listening(server: ReturnType<typeof createServer>) {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const close = () => new Promise((closed) => server.closeAllConnections() ?? server.close(closed));
  return { url: `http://127.0.0.1:${port}`, close };
}

test("forty secrets are planted", () => {
  expect(Object.keys(ALL)).toHaveLength(40);
  expect(new Set(Object.values(ALL)).size).toBe(40);
});

describe("with the masks on", () => {
  test.each(["spool", "spans", "exported", "metrics", "logs", "refusals"])("none is in the %s", (place) => {
    const text = masked[place] ?? "";
    expect(text.length).toBeGreaterThan(place === "logs" ? 0 : 100);
    expect(findPlanted(text)).toEqual([]);
    expect(findPlanted(text, KEYS)).toEqual([]);
  });

  test("what is no secret is there all the same", () => {
    for (const place of ["spool", "spans"]) {
      expect(masked[place]).toContain("db.example");
      expect(masked[place]).toContain("fixture__error");
    }
  });
});

describe("with the masks off", () => {
  test("those of arguments and results are in spool and spans, so that they were there to be masked", () => {
    // what is longer than a record holds is cut: the first of each kind are there
    for (const place of ["spool", "spans", "exported"]) {
      const found = findPlanted(open[place] ?? "");
      expect(found).toEqual(expect.arrayContaining([...Object.keys(NAMED), "aws", "github", "openai", "toolError"]));
    }
  });

  test("our own keys and what headers held is not", () => {
    const own = {
      wrongKey: HEADERS["wrongKey"] ?? "",
      bearer: HEADERS["bearer"] ?? "",
      cookie: HEADERS["cookie"] ?? "",
    };
    expect(findPlanted(Object.values(open).join("\n"), { ...own, ...CONFIGURED, ...KEYS })).toEqual([]);
  });

  test("the finder finds all forty in what went over the wire", () => {
    expect(findPlanted(heard).toSorted()).toEqual(Object.keys(ALL).toSorted());
  });

  test.each<[string, (text: string) => string]>([
    ["in JSON", (text) => JSON.stringify({ a: text })],
    ["in JSON within JSON", (text) => JSON.stringify(JSON.stringify({ a: text }))],
    ["in base64", (text) => Buffer.from(`xy${text}z`).toString("base64")],
    ["in base64url", (text) => Buffer.from(`x${text}`).toString("base64url")],
    ["in hex", (text) => Buffer.from(text).toString("hex")],
    ["percent-encoded", (text) => encodeURIComponent(text)],
  ])("the finder finds each of them %s", (_, encode) => {
    for (const [where, secret] of Object.entries(ALL)) expect(findPlanted(encode(secret))).toContain(where);
  });
});
