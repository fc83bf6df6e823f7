/**
 * An identity provider as small as one can be: it signs what it is told to, serves its keys on loopback, counts who asks,
 * and hangs, floods, redirects or goes away when told to. What it signs need not make sense.
 */
import { createServer } from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { exportJWK, generateKeyPair, SignJWT } from "jose";
import type { CryptoKey, JWK } from "jose";

export type TestIssuer = {
  readonly issuer: string;
  /** Requests for its keys so far. */
  readonly asked: () => number;
  /** What it does with the next requests. */
  behave: (way: Way) => void;
  /** Signs with the newest key; `claims` go over sound ones. */
  readonly sign: (claims?: Claims, header?: Claims, key?: CryptoKey) => Promise<string>;
  /** A new key under a new id; `keep` serves the old ones too. */
  readonly rotate: (keep: "keep" | "drop") => Promise<void>;
  /** What its key set says, and the newest key's public part. */
  readonly keys: () => readonly JWK[];
  readonly serve: (keys: readonly JWK[]) => void;
  readonly close: () => Promise<void>;
};
export type Way = "well" | "hang" | "flood" | "redirect" | "fail" | "garbage";
/** Of a token, or of its header: undefined takes one out. */
export type Claims = { readonly [claim: string]: unknown };
type Options = {
  readonly alg?: string;
  /** What the metadata says it is, where that is not true. */
  readonly named?: string;
  /** Only RFC 8414's document is there. */
  readonly oauthOnly?: boolean;
  /** After the origin. */
  readonly path?: string;
  readonly kids?: string;
};

export const AUDIENCE = "https://gw.example/mcp";

export async function startIssuer(options: Options = {}): Promise<TestIssuer> {
  const { alg = "ES256", path = "", kids = "key" } = options;
  let way: Way = "well";
  let asked = 0;
  let count = 0;
  let pair = await generateKeyPair(alg, { extractable: true });
  let kid = `${kids}-0`;
  let served: readonly JWK[] = [{ ...(await exportJWK(pair.publicKey)), kid, alg, use: "sig" }];
  const answer = (req: IncomingMessage, res: ServerResponse): void => {
    if (req.url === "/jwks") {
      asked++;
      if (way !== "well") return misbehave(way, res, JSON.stringify({ keys: served }));
      return void res.end(JSON.stringify({ keys: served }));
    }
    // where a redirect leads, sound keys are
    if (req.url === "/moved") return void res.end(JSON.stringify({ keys: served }));
    const oidc = `${path}/.well-known/openid-configuration`;
    const names = options.oauthOnly === true ? [] : [oidc];
    if (![...names, `/.well-known/oauth-authorization-server${path}`].includes(req.url ?? "")) {
      return void res.writeHead(404).end();
    }
    res.end(JSON.stringify({ issuer: options.named ?? issuer, jwks_uri: `${origin}/jwks` }));
  };
  const server = createServer(answer);
  await new Promise<void>((ready) => server.listen(0, "127.0.0.1", ready));
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const issuer = origin + path;
  return {
    issuer,
    asked: () => asked,
    behave: (next) => void (way = next),
    sign: (claims = {}, header = {}, key = pair.privateKey) => {
      const now = Math.floor(Date.now() / 1000);
      const sound = { iss: issuer, aud: AUDIENCE, sub: "carol", iat: now, exp: now + 300 };
      return new SignJWT({ ...sound, ...claims }).setProtectedHeader({ alg, kid, typ: "at+jwt", ...header }).sign(key);
    },
    rotate: async (keep) => {
      pair = await generateKeyPair(alg, { extractable: true });
      kid = `${kids}-${++count}`;
      const fresh = { ...(await exportJWK(pair.publicKey)), kid, alg, use: "sig" };
      served = keep === "keep" ? [...served, fresh] : [fresh];
    },
    keys: () => served,
    serve: (keys) => void (served = keys),
    close: async () => {
      server.closeAllConnections();
      await new Promise((closed) => server.close(closed));
    },
  };
}

/** This issuer as an entry of `auth.jwt`. */
export function jwtEntry({ issuer }: Pick<TestIssuer, "issuer">, more: object = {}): object {
  return { issuer, audience: AUDIENCE, roles: "/roles", allowPrivate: true, clockTolerance: "0s", ...more };
}

/** Where its status says no, sound keys are in the body. */
function misbehave(way: Exclude<Way, "well">, res: ServerResponse, keys: string): void {
  switch (way) {
    case "hang":
      return;
    case "flood":
      res.writeHead(200);
      for (let chunk = 0; chunk < 40; chunk++) res.write(Buffer.alloc(16_384, 0x20));
      return void res.end('{"keys":[]}');
    case "redirect":
      return void res.writeHead(302, { location: "/moved" }).end(keys);
    case "fail":
      return void res.writeHead(500).end(keys);
    case "garbage":
      return void res.end('{"keys":[{"kty":"oct","k":"AA"}],"keys":[]}');
  }
}
