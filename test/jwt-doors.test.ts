/** What a client is told that has no token, a bad one, or one without a scope; and that a token is judged anew on each call. */
import { request } from "node:http";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { DOORS, post } from "./support/ask.ts";
import { BASE_CONFIG, discovered, fixtureServer, KEYS, startGateway } from "./support/gateway.ts";
import type { TestGateway } from "./support/gateway.ts";
import { jwtEntry, startIssuer } from "./support/issuer.ts";
import type { TestIssuer } from "./support/issuer.ts";
import { startFixture } from "./support/upstreams/fixture.ts";
import type { Fixture } from "./support/upstreams/fixture.ts";

const OWN = "https://gw.example/mcp/fixture";
const WELL_KNOWN = "/.well-known/oauth-protected-resource";

let idp: TestIssuer;
let fixture: Fixture;
let gateway: TestGateway;
const auth = (jwt: object, more: object = {}) => ({ ...BASE_CONFIG.auth, jwt: [jwtEntry(idp, jwt)], ...more });

beforeAll(async () => {
  idp = await startIssuer();
  fixture = await startFixture({ era: "both" });
  gateway = await startGateway({
    servers: [fixtureServer(fixture)],
    auth: auth({ paths: { "/mcp/fixture": OWN }, scopes: ["mcp:use", "mcp:read"] }),
  });
  await discovered(gateway, "fixture");
});
afterAll(async () => {
  await gateway.close();
  await fixture.close();
  await idp.close();
});

const ONE_SERVER = /one server/;
const audienceAt = (door: string) => (ONE_SERVER.test(door) ? OWN : "https://gw.example/mcp");
const metadataAt = (door: string) =>
  `https://gw.example${WELL_KNOWN}${ONE_SERVER.test(door) ? "/mcp/fixture" : "/mcp"}`;

describe.each(Object.entries(DOORS))("at the door %s", (door, ask) => {
  const known = `scope="mcp:use mcp:read", resource_metadata="${metadataAt(door)}"`;
  const admin = door === "trpc";

  test("whoever has no token is told where to get one", async () => {
    const { status, headers } = await ask(gateway, { key: null, tool: "echo" });
    const challenge = `Bearer realm="portcullis"${admin ? "" : `, ${known}`}`;
    expect([status, headers.get("www-authenticate")]).toEqual([401, challenge]);
  });

  test("whoever has a bad one is told that it is bad, and nothing of why", async () => {
    const sound = { aud: audienceAt(door), scope: "mcp:use mcp:read" };
    const bad = [
      { ...sound, exp: 1 },
      { ...sound, aud: "https://other.example" },
      { ...sound, sub: "alice" },
    ];
    for (const claims of bad) {
      const { status, headers } = await ask(gateway, { key: await idp.sign(claims), tool: "echo" });
      const challenge = `Bearer realm="portcullis"${admin ? "" : `, error="invalid_token", ${known}`}`;
      expect([status, headers.get("www-authenticate")]).toEqual([401, challenge]);
    }
  });

  test("whoever lacks a scope is told all of them, and the record says who it was", async () => {
    const key = await idp.sign({ sub: `dave`, aud: audienceAt(door), roles: ["analyst"], scope: "mcp:read" });
    const { status, headers, code, callId } = await ask(gateway, { key, tool: "echo" });
    const scopes = 'error="insufficient_scope", scope="mcp:use mcp:read"';
    const where = admin ? "" : `, resource_metadata="${metadataAt(door)}"`;
    const challenge = `Bearer realm="portcullis", ${scopes}${where}`;
    expect([status, code, headers.get("www-authenticate")]).toEqual([403, "forbidden", challenge]);
    const record = (await gateway.records()).find((one) => one["portcullis.call.id"] === callId);
    expect(record).toMatchObject({ "portcullis.principal.id": "dave", "portcullis.record": "refusal" });
  });

  test("a token for this path is taken, one for another is not", async () => {
    const scope = "mcp:use mcp:read";
    const roles = ["analyst"];
    const own = await idp.sign({ aud: audienceAt(door), roles, scope });
    const others = await idp.sign({ aud: ONE_SERVER.test(door) ? "https://gw.example/mcp" : OWN, roles, scope });
    expect((await ask(gateway, { key: own, tool: "echo" })).code).toBe("ok");
    expect((await ask(gateway, { key: others, tool: "echo" })).code).toBe("unauthenticated");
  });
});

describe("the metadata", () => {
  const base = {
    authorization_servers: [] as string[],
    scopes_supported: ["mcp:use", "mcp:read"],
    bearer_methods_supported: ["header"],
  };

  test.each([
    ["", "https://gw.example/mcp"],
    ["/mcp", "https://gw.example/mcp"],
    ["/mcp/other", "https://gw.example/mcp"],
    ["/mcp/fixture", OWN],
    ["/mcp/fixture@1.0.0", OWN],
  ])("of %j is the resource's that the file names there, whatever Host the request has", async (path, resource) => {
    const { status, body } = await get(WELL_KNOWN + path, { "x-forwarded-host": "evil.example", host: "localhost" });
    expect([status, JSON.parse(body)]).toEqual([200, { ...base, resource, authorization_servers: [idp.issuer] }]);
  });

  test("is not there for what is no resource, and not where no issuer is configured", async () => {
    const nothing = await get("/nothing");
    const told = ({ status, body }: { status: number; body: string }) => [
      status,
      (JSON.parse(body) as { code: string }).code,
    ];
    expect(told(await get(`${WELL_KNOWN}/tools`))).toEqual(told(nothing));
    const bare = await startGateway();
    const response = await fetch(`${bare.url}${WELL_KNOWN}/mcp`);
    expect([response.status, response.headers.get("www-authenticate")]).toEqual([401, 'Bearer realm="portcullis"']);
    await bare.close();
  });

  test("is not there for an audience that is no URL, and the challenge names none", async () => {
    const bare = await startGateway({ auth: auth({ audience: "api://portcullis" }) });
    expect((await fetch(bare.url + WELL_KNOWN)).status).toBe(401);
    const { response } = await post(`${bare.url}/mcp`, null, {});
    expect(response.headers.get("www-authenticate")).toBe('Bearer realm="portcullis"');
    expect((await DOORS["rest"]!(bare, { key: await idp.sign({ aud: "api://portcullis" }), tool: "x" })).code).toBe(
      "tool_not_found",
    );
    await bare.close();
  });

  test("lists each issuer that gives out tokens for the resource", async () => {
    const bare = await startGateway({
      auth: {
        jwt: [
          jwtEntry(idp, { prefix: "a:" }),
          jwtEntry({ issuer: "https://second.example" }, { prefix: "b:", scopes: ["x"] }),
          jwtEntry({ issuer: "https://third.example" }, { prefix: "c:", audience: "https://third.example/mcp2" }),
        ],
      },
    });
    const found = (await (await fetch(bare.url + WELL_KNOWN)).json()) as object;
    expect(found).toMatchObject({
      authorization_servers: [idp.issuer, "https://second.example"],
      scopes_supported: ["x"],
    });
    await bare.close();
  });

  function get(path: string, headers: Record<string, string> = {}): Promise<{ status: number; body: string }> {
    return new Promise((settle, reject) => {
      const asked = request(gateway.url + path, { headers, agent: false }, (answer) => {
        let body = "";
        answer.setEncoding("utf8").on("data", (chunk: string) => (body += chunk));
        answer.on("end", () => settle({ status: answer.statusCode ?? 0, body }));
      });
      asked.on("error", reject).end();
    });
  }
});

describe("from the next call on", () => {
  const rest = DOORS["rest"]!;

  test("a changed role counts for a known token, and an issuer that is gone is not believed", async () => {
    const one = await startGateway({ servers: [fixtureServer(fixture)], auth: auth({}) });
    await discovered(one, "fixture");
    const key = await idp.sign({ roles: ["analyst"] });
    const codes = [(await rest(one, { key, tool: "echo" })).code];
    await one.rewrite({ roles: { ...BASE_CONFIG.roles, analyst: ["files:read"] } });
    codes.push((await rest(one, { key, tool: "echo" })).code);
    await one.rewrite({});
    codes.push((await rest(one, { key, tool: "echo" })).code);
    await one.rewrite({ auth: BASE_CONFIG.auth });
    codes.push((await rest(one, { key, tool: "echo" })).code);
    expect(codes).toEqual(["ok", "forbidden", "ok", "unauthenticated"]);
    await one.close();
  });

  test("a subject whose name an administrator declares is refused", async () => {
    const one = await startGateway({ servers: [fixtureServer(fixture)], auth: auth({}) });
    await discovered(one, "fixture");
    const key = await idp.sign({ roles: ["analyst"] });
    expect((await rest(one, { key, tool: "echo" })).code).toBe("ok");
    const { response } = await post(`http://${one.admin}/trpc/principals.put`, KEYS.root, {
      principal: { id: "carol" },
    });
    expect(response.status).toBe(200);
    expect((await rest(one, { key, tool: "echo" })).code).toBe("unauthenticated");
    await one.close();
  });
});

test("an agent that acts for a user stands in the record with that user", async () => {
  const key = await idp.sign({ roles: ["analyst"], scope: "mcp:use mcp:read", act: { sub: "helper" } });
  const { callId } = await DOORS["rest"]!(gateway, { key, tool: "echo" });
  const records = (await gateway.records()).filter((one) => one["portcullis.call.id"] === callId);
  expect(records.map((one) => one["portcullis.record"])).toEqual(["intent", "outcome"]);
  for (const record of records)
    expect(record).toMatchObject({
      "portcullis.principal.id": "helper",
      "portcullis.principal.kind": "agent",
      "portcullis.on_behalf_of": "carol",
    });
});
