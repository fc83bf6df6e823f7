/** Three versions of one server, told apart by which tool of their own they have, behind one gateway. */
import { ADMIN_PERMISSIONS } from "../src/operations.ts";
import { post } from "./support/ask.ts";
import type { Told } from "./support/ask.ts";
import { BASE_CONFIG, discovered, fixtureServer, keyEntry, startGateway } from "./support/gateway.ts";
import type { TestGateway } from "./support/gateway.ts";
import { startFixture } from "./support/upstreams/fixture.ts";
import type { Fixture } from "./support/upstreams/fixture.ts";

export const VERSIONS = ["1.0.0", "2.0.0", "3.0.0"] as const;
/** Of two tenants, each with an analyst and an operator. */
export const PEOPLE = [
  { id: "ann", roles: ["analyst"], tenant: "acme" },
  { id: "bob", roles: ["operator"], tenant: "acme" },
  { id: "cat", roles: ["analyst"], tenant: "umbrella" },
  { id: "dan", roles: ["operator"], tenant: "umbrella" },
] as const;

const text = { type: "string" };
const ECHO = { name: "echo", inputSchema: { type: "object", properties: { text, to: text } } };
export const DEFINITIONS = {
  "1.0.0": [ECHO, { name: "big", inputSchema: { type: "object" } }],
  // an addition that breaks nobody, and one tool more
  "2.0.0": [
    { ...ECHO, inputSchema: { type: "object", properties: { text, to: text, loud: { type: "boolean" } } } },
    { name: "big", inputSchema: { type: "object" } },
    { name: "slow", inputSchema: { type: "object" } },
  ],
  // a tool less, and arguments that must be there
  "3.0.0": [{ ...ECHO, inputSchema: { ...ECHO.inputSchema, required: ["text"] } }],
} as const;

export type Stand = {
  readonly gateway: TestGateway;
  readonly fixtures: { readonly [version: string]: Fixture };
  /** Which version the record of this call names, and why it was that one. */
  readonly versionOf: (told: Told) => Promise<unknown>;
  readonly recordOf: (told: Told) => Promise<{ readonly [attribute: string]: unknown }>;
  readonly close: () => Promise<void>;
};

export function serversOf(fixtures: Stand["fixtures"]): readonly object[] {
  return VERSIONS.map((version) =>
    fixtureServer(fixtures[version] as Fixture, {
      version,
      default: version === "1.0.0",
      // of the last, only operators may call anything
      ...(version === "3.0.0" ? { permissions: ["files:write"] } : {}),
    }),
  );
}

export async function startVersions(changes: object = {}, start = startGateway): Promise<Stand> {
  const made = await Promise.all(
    VERSIONS.map(async (version) => {
      const fixture = await startFixture();
      fixture.define(DEFINITIONS[version]);
      return [version, fixture] as const;
    }),
  );
  const fixtures = Object.fromEntries(made);
  const gateway = await start({
    roles: { ...BASE_CONFIG.roles, admin: ADMIN_PERMISSIONS },
    principals: [...BASE_CONFIG.principals, ...PEOPLE],
    auth: { keys: [...BASE_CONFIG.auth.keys, ...PEOPLE.map(({ id }) => keyEntry(id))] },
    servers: serversOf(fixtures),
    ...changes,
  });
  await discovered(gateway, "fixture");
  const recordOf: Stand["recordOf"] = async ({ callId }) => {
    const records = await gateway.records();
    return records.findLast((one) => one["portcullis.call.id"] === callId) ?? {};
  };
  return {
    gateway,
    fixtures,
    recordOf,
    versionOf: async (told) => (await recordOf(told))["portcullis.server.version"],
    close: async () => {
      await gateway.close();
      for (const [, fixture] of made) await fixture.close();
    },
  };
}

/** What `GET /tools` lists, version by gateway name. */
export async function listed(
  { url }: { readonly url: string },
  key: string,
  query = "",
): Promise<{ readonly [name: string]: string }> {
  const answer = await fetch(`${url}/tools${query}`, { headers: { "x-api-key": key } });
  const { tools } = (await answer.json()) as { tools: readonly { name: string; version: string }[] };
  return Object.fromEntries(tools.map(({ name, version }) => [name, version]));
}

export async function graphql({ url }: { readonly url: string }, key: string, query: string, variables = {}) {
  return (await post(`${url}/graphql`, key, { query, variables })).json;
}
