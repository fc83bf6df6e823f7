/** An MCP client that knows the gateway's URL alone finds the identity provider, gets a token for it, and is who the token says. */
import {
  Client,
  ClientCredentialsProvider,
  StreamableHTTPClientTransport,
  UnauthorizedError,
} from "@modelcontextprotocol/client";
import type { OAuthClientProvider, OAuthDiscoveryState, StoredOAuthTokens } from "@modelcontextprotocol/client";
import { afterAll, beforeAll, expect, test } from "vitest";
import { BASE_CONFIG, discovered, fixtureServer, startGateway } from "./support/gateway.ts";
import type { TestGateway } from "./support/gateway.ts";
import { ASSISTANT, MACHINE, REDIRECT, SCOPE, startProvider } from "./support/provider.ts";
import { startFixture } from "./support/upstreams/fixture.ts";
import type { Fixture } from "./support/upstreams/fixture.ts";

let provider: Awaited<ReturnType<typeof startProvider>>;
let fixture: Fixture;
let gateway: TestGateway;
beforeAll(async () => {
  provider = await startProvider();
  fixture = await startFixture({ era: "both" });
  gateway = await startGateway({ servers: [fixtureServer(fixture)] });
  await discovered(gateway, "fixture");
  // its own URL is known once it listens
  const jwt = {
    issuer: provider.issuer,
    audience: `${gateway.url}/mcp`,
    paths: { "/mcp/fixture": `${gateway.url}/mcp/fixture` },
    roles: "/realm_access/roles",
    scopes: [SCOPE],
    allowPrivate: true,
  };
  await gateway.rewrite({ auth: { ...BASE_CONFIG.auth, jwt: [jwt] } });
});
afterAll(async () => {
  await gateway.close();
  await fixture.close();
  await provider.close();
});

async function called(client: Client, tool: string): Promise<object> {
  const result = await client.callTool({ name: tool, arguments: { text: "hello" } });
  expect(result.isError ?? false).toBe(false);
  const last = (await gateway.records()).at(-1);
  const user = last?.["portcullis.on_behalf_of"] ?? null;
  return { id: last?.["portcullis.principal.id"], kind: last?.["portcullis.principal.kind"], user };
}

test.each([
  ["/mcp", "fixture__echo"],
  ["/mcp/fixture", "echo"],
])("a machine at %s, with its own credentials", async (path, tool) => {
  const authProvider = new ClientCredentialsProvider({ ...MACHINE, expectedIssuer: provider.issuer });
  const client = new Client({ name: "batch", version: "1" });
  await client.connect(new StreamableHTTPClientTransport(new URL(gateway.url + path), { authProvider }));
  expect((await client.listTools()).tools.map(({ name }) => name)).toContain(tool);
  expect(await called(client, tool)).toEqual({ id: "batch", kind: "agent", user: null });
  await client.close();
});

test("an assistant that acts for a user who signed in and agreed", async () => {
  const browser = openBrowser();
  const url = new URL(`${gateway.url}/mcp`);
  const client = new Client({ name: "assistant", version: "1" });
  const first = new StreamableHTTPClientTransport(url, { authProvider: browser.authProvider });
  await expect(client.connect(first)).rejects.toThrow(UnauthorizedError);
  await first.finishAuth(await browser.code());
  await client.connect(new StreamableHTTPClientTransport(url, { authProvider: browser.authProvider }));
  expect(await called(client, "fixture__echo")).toEqual({ id: "assistant", kind: "agent", user: "carol" });
  await client.close();
});

test("a token that it got for one path is refused at another", async () => {
  const authProvider = new ClientCredentialsProvider({ ...MACHINE, expectedIssuer: provider.issuer });
  const client = new Client({ name: "batch", version: "1" });
  await client.connect(new StreamableHTTPClientTransport(new URL(`${gateway.url}/mcp/fixture`), { authProvider }));
  await client.close();
  const authorization = `Bearer ${authProvider.tokens()?.access_token ?? ""}`;
  const ask = async (path: string) => (await fetch(`${gateway.url}${path}`, { headers: { authorization } })).status;
  expect([await ask("/mcp/fixture"), await ask("/mcp"), await ask("/tools")]).toEqual([405, 401, 401]);
});

type Browser = {
  readonly authProvider: OAuthClientProvider;
  /** What the provider's last redirect, to the client's own URL, says. */
  readonly code: () => Promise<URLSearchParams>;
};

/** The part of a person with a browser: follows the redirects with the provider's cookies, up to the client's own. */
function openBrowser(): Browser {
  let to = "";
  let tokens: StoredOAuthTokens | undefined;
  let state: OAuthDiscoveryState | undefined;
  let verifier = "";
  const authProvider: OAuthClientProvider = {
    redirectUrl: REDIRECT,
    clientMetadata: { redirect_uris: [REDIRECT], scope: SCOPE },
    clientInformation: () => ({ client_id: ASSISTANT, issuer: provider.issuer }),
    tokens: () => tokens,
    saveTokens: (got) => void (tokens = got),
    redirectToAuthorization: ({ href }) => void (to = href),
    saveCodeVerifier: (made) => void (verifier = made),
    codeVerifier: () => verifier,
    saveDiscoveryState: (found) => void (state = found),
    discoveryState: () => state,
  };
  const code = async (): Promise<URLSearchParams> => {
    const cookies = new Map<string, string>();
    for (let step = 0; step < 12 && !to.startsWith(REDIRECT); step++) {
      const cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join("; ");
      const answer = await fetch(to, { redirect: "manual", headers: { cookie } });
      for (const set of answer.headers.getSetCookie()) {
        const [, name = "", value = ""] = /^([^=]+)=([^;]*)/.exec(set) ?? [];
        cookies.set(name, value);
      }
      to = new URL(answer.headers.get("location") ?? "", to).href;
    }
    return new URL(to).searchParams;
  };
  return { authProvider, code };
}
