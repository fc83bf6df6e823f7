/** Does the door keep to GraphQL over HTTP? The specification's own audits, over a real socket, and what they leave out. */
import { auditServer } from "graphql-http";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { KEYS, startGateway } from "./support/gateway.ts";
import type { TestGateway } from "./support/gateway.ts";

let gateway: TestGateway;
beforeAll(async () => {
  gateway = await startGateway();
});
afterAll(() => gateway.close());

const withKey: typeof fetch = (url, init) => {
  const headers = new Headers(init?.headers);
  headers.set("x-api-key", KEYS.alice);
  return fetch(url, { ...init, headers });
};
const post = (body: unknown, headers: Record<string, string> = {}): Promise<Response> =>
  withKey(`${gateway.url}/graphql`, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: typeof body === "string" ? body : JSON.stringify(body),
  });

type Told = { errors: { message: string; extensions: Record<string, unknown> }[]; data?: unknown };
const told = async (response: Response): Promise<Told> => (await response.json()) as Told;

describe("GraphQL over HTTP", () => {
  test("every audit of the specification passes", async () => {
    const audits = await auditServer({ url: `${gateway.url}/graphql`, fetchFn: withKey });
    const failed = audits
      .filter(({ status }) => status !== "ok")
      .map((audit) => `${audit.id} ${audit.name}: ${audit.status === "ok" ? "" : audit.reason}`);
    expect(failed).toEqual([]);
    expect(audits.length).toBeGreaterThan(60);
  });

  test("nobody is told anything, whatever is asked", async () => {
    for (const body of ['{"query": "{__typename}"}', '{"query": "{"}', '{"query": "{__schema{types{name}}}"}', "[]"]) {
      const response = await fetch(`${gateway.url}/graphql`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body,
      });
      expect(response.status).toBe(401);
      expect(response.headers.get("www-authenticate")).toMatch(/^Bearer/);
      const { errors, data } = await told(response);
      expect(data).toBeUndefined();
      expect(errors).toMatchObject([{ extensions: { code: "unauthenticated", executed: "no", retryable: false } }]);
      expect(errors[0]?.extensions["callId"]).toMatch(/^[0-9a-f-]{36}$/);
    }
  });

  test.each([
    ["malformed JSON", '{"query": ', 400],
    ["a key twice", '{"query": "{__typename}", "query": "{me{id}}"}', 400],
    ["a batch", '[{"query": "{__typename}"}]', 400],
    ["an unknown parameter", '{"query": "{__typename}", "id": 1}', 400],
    ["no query", "{}", 400],
    ["a form that we do not speak", '{"query": "{__typename}"}', 406],
  ])("%s is an error with code, call id and status", async (what, body, status) => {
    const response = await post(body, status === 406 ? { accept: "text/html" } : {});
    expect(response.status, what).toBe(status);
    const { errors } = await told(response);
    expect(errors).toMatchObject([{ extensions: { code: "invalid_request", executed: "no", retryable: false } }]);
    expect(errors[0]?.extensions["callId"]).toMatch(/^[0-9a-f-]{36}$/);
  });

  test.each([
    "{",
    "{nothing}",
    "query($a: Int!) {tools(first: $a) {totalCount}}",
    "query A {__typename} query B {__typename}",
  ])("%s is refused with a code and a record", async (query) => {
    const response = await post({ query }, { accept: "application/graphql-response+json" });
    expect(response.status).toBe(400);
    const { errors, data } = await told(response);
    expect(data).toBeUndefined();
    const [error] = errors;
    expect(error?.extensions).toMatchObject({ code: "invalid_request" });
    const records = await gateway.records();
    expect(records.filter((record) => record["portcullis.call.id"] === error?.extensions["callId"])).toHaveLength(1);
  });

  test.each([
    ["depth", `{a${"{a".repeat(10)}${"}".repeat(11)}`],
    ["fields", `{${"__typename ".repeat(501)}}`],
    ["tokens", `query($list: JSON = [${"1 ".repeat(2000)}]) {mayCall(tool: "x", arguments: $list) {allowed}}`],
    ["a circle", "{...A} fragment A on Query {...A}"],
  ])("a document beyond its bounds, in %s, is 400 in every form", async (_, query) => {
    for (const accept of ["application/json", "application/graphql-response+json"]) {
      const response = await post({ query }, { accept });
      expect(response.status).toBe(400);
      expect((await told(response)).errors).toMatchObject([{ extensions: { code: "invalid_request" } }]);
    }
  });

  test("a mutation by GET is refused, and its status says why", async () => {
    const query = 'mutation {callTool(tool: "files__x", arguments: {}) {callId}}';
    const response = await withKey(`${gateway.url}/graphql?query=${encodeURIComponent(query)}`);
    expect(response.status).toBe(405);
    expect(response.headers.get("allow")).toBe("POST");
    expect((await told(response)).errors).toMatchObject([{ extensions: { code: "invalid_request" } }]);
  });

  test("a parameter that occurs twice in a query string is refused", async () => {
    const response = await withKey(`${gateway.url}/graphql?query={__typename}&query={me{id}}`);
    expect(response.status).toBe(400);
  });

  test("a page for browsers is not served, and nothing comes from another host", async () => {
    const response = await withKey(`${gateway.url}/graphql?query={__typename}`, { headers: { accept: "text/html" } });
    expect(response.status).toBe(406);
  });
});
