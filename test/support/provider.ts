/**
 * A real identity provider on loopback, oidc-provider: a machine gets a token for itself, an assistant one for carol, who
 * is signed in and agrees without being asked. Tokens are JWTs for the resource that the client names.
 */
import { createServer } from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { exportJWK, generateKeyPair } from "jose";
import { Provider } from "oidc-provider";

export const SCOPE = "mcp:use";
export const REDIRECT = "http://127.0.0.1/callback";
export const MACHINE = { clientId: "batch", clientSecret: "a secret of the machine's own" };
export const ASSISTANT = "assistant";

export async function startProvider(): Promise<{ readonly issuer: string; readonly close: () => Promise<void> }> {
  let provider: Provider | null = null;
  const server = createServer((req, res) => {
    if (provider === null) return void res.end();
    if (req.url?.startsWith("/interaction/") === true) void agree(provider, req, res);
    else provider.callback()(req, res);
  });
  await new Promise<void>((ready) => server.listen(0, "127.0.0.1", ready));
  const issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const { privateKey } = await generateKeyPair("ES256", { extractable: true });
  const key = { ...(await exportJWK(privateKey)), kid: "provider-1", alg: "ES256", use: "sig" };
  provider = new Provider(issuer, configuration(key));
  return {
    issuer,
    close: async () => {
      server.closeAllConnections();
      await new Promise((closed) => server.close(closed));
    },
  };
}

function configuration(key: object): object {
  return {
    jwks: { keys: [key] },
    cookies: { keys: ["loopback"] },
    ttl: { AccessToken: 300, ClientCredentials: 300, Grant: 300, IdToken: 300, Interaction: 300, Session: 300 },
    clientDefaults: { id_token_signed_response_alg: "ES256" },
    clients: [
      {
        client_id: MACHINE.clientId,
        client_secret: MACHINE.clientSecret,
        grant_types: ["client_credentials"],
        redirect_uris: [],
        response_types: [],
      },
      {
        client_id: ASSISTANT,
        token_endpoint_auth_method: "none",
        application_type: "native",
        grant_types: ["authorization_code"],
        redirect_uris: [REDIRECT],
        response_types: ["code"],
      },
    ],
    findAccount: (_: unknown, sub: string) => ({ accountId: sub, claims: () => ({ sub }) }),
    interactions: { url: (_: unknown, { uid }: { uid: string }) => `/interaction/${uid}` },
    // RFC 8693's claim, as an exchange of tokens would set it: the assistant acts for whom it has the consent of
    extraTokenClaims: (_: unknown, token: { kind: string; clientId: string }) =>
      token.kind === "AccessToken"
        ? { realm_access: { roles: ["analyst", "offline_access"] }, act: { sub: token.clientId } }
        : { realm_access: { roles: ["analyst"] } },
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        useGrantedResource: () => true,
        getResourceServerInfo: (_: unknown, resource: string) => ({
          scope: SCOPE,
          audience: resource,
          accessTokenFormat: "jwt",
          jwt: { sign: { alg: "ES256" } },
        }),
      },
    },
  };
}

async function agree(provider: Provider, req: IncomingMessage, res: ServerResponse): Promise<void> {
  const { prompt, params, session } = await provider.interactionDetails(req, res);
  if (prompt.name === "login") return provider.interactionFinished(req, res, { login: { accountId: "carol" } });
  const grant = new provider.Grant({ accountId: session?.accountId ?? "", clientId: params.client_id });
  grant.addResourceScope(params.resource ?? "", SCOPE);
  return provider.interactionFinished(req, res, { consent: { grantId: await grant.save() } });
}
