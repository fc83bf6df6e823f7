/** A gateway that Envoy may ask over HTTP and gRPC, and the questions: two servers, of which one takes anonymous callers. */
import type { Body } from "./support/ask.ts";
import { checkClient, checkRequest, toldBy, use } from "./support/ext-authz.ts";
import type { Checked, CheckClient } from "./support/ext-authz.ts";
import { BASE_CONFIG, discovered, fixtureServer, keyEntry, startGateway } from "./support/gateway.ts";
import type { TestGateway } from "./support/gateway.ts";
import { startFixture } from "./support/upstreams/fixture.ts";
import type { Fixture } from "./support/upstreams/fixture.ts";

export type Answer = {
  readonly code: string;
  readonly status: number;
  readonly text: string;
  readonly reasons: readonly string[] | null;
};
export type Front = {
  readonly fixture: Fixture;
  readonly gateway: TestGateway;
  readonly client: CheckClient;
  readonly overGrpc: (checked: Checked) => Promise<Answer>;
  readonly overHttp: (checked: Checked, place?: string) => Promise<Answer>;
  readonly close: () => Promise<void>;
};

/** One call that policy allows to analysts. */
export const call = use("echo", { text: "hi" });

const PEOPLE = {
  roles: { ...BASE_CONFIG.roles, owner: ["demo:use", "demo:rare"] },
  principals: [...BASE_CONFIG.principals, { id: "olga", roles: ["owner"] }, { id: "zoë %\n", roles: ["analyst"] }],
  auth: {
    keys: [...BASE_CONFIG.auth.keys, keyEntry("olga"), { ...keyEntry("zoe"), principal: "zoë %\n" }],
    anonymous: { principal: "alice", paths: ["/mcp", "/ext_authz/open"] },
  },
};

export async function openFront(): Promise<Front> {
  const fixture = await startFixture({ era: "both" });
  const settings = { tools: { big: { permissions: ["demo:rare"] } } };
  const gateway = await startGateway({
    ...PEOPLE,
    extAuthz: { http: true, grpc: "127.0.0.1:0" },
    maxBody: 8192,
    servers: [fixtureServer(fixture, settings), fixtureServer(fixture, { ...settings, name: "open" })],
  });
  await discovered(gateway, "fixture");
  await discovered(gateway, "open");
  const client = checkClient(gateway.grpc ?? "");
  return {
    fixture,
    gateway,
    client,
    overGrpc: async (checked) => toldBy(await client.check(checkRequest(checked))),
    overHttp: (checked, place) => checkOverHttp(gateway, checked, place),
    close: async () => {
      client.close();
      await gateway.close();
      await fixture.close();
    },
  };
}

/** What of a check HTTP can say at all. */
export async function checkOverHttp(
  { url }: TestGateway,
  { key = null, method = "POST", body, headers = {} }: Checked,
  place = "fixture/mcp",
): Promise<Answer> {
  const response = await fetch(`${url}/ext_authz/${place}`, {
    method,
    headers: {
      accept: "application/json, text/event-stream",
      ...(key === null ? {} : { "x-api-key": key }),
      ...(body === undefined ? {} : { "content-type": "application/json", "x-envoy-auth-partial-body": "false" }),
      ...headers,
    },
    ...(body === undefined ? {} : { body: body as BodyInit }),
  });
  const text = await response.text();
  const json: Body = text === "" ? null : JSON.parse(text);
  return {
    code: response.status === 200 ? "ok" : json.code,
    status: response.status,
    text,
    reasons: json?.reasons ?? null,
  };
}
