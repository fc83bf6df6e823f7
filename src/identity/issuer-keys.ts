/**
 * Which public key signed this token? An issuer's key set, fetched when it is first needed. What surprises: whoever
 * invents key ids cannot make us hammer the issuer, for it is asked once in 30 s at most, whatever comes; and while it
 * is away its last good keys count for a day.
 */
import { createLocalJWKSet, errors } from "jose";
import type { CryptoKey, JSONWebKeySet, JWSHeaderParameters } from "jose";
import { isSecureUrl } from "../config-jwt.ts";
import { isObject, parseJson } from "../json.ts";
import type { Issuer } from "../config-jwt.ts";
import type { JsonObject } from "../model.ts";
import type { Ports } from "../ports.ts";
import type { FetchDocument } from "../upstream/document.ts";
import { FAULTS } from "./faults.ts";

export type KeyPorts = Pick<Ports, "clock" | "log"> & { readonly fetchDocument: FetchDocument };
/** @throws errors.JWKSNoMatchingKey, errors.JWKSMultipleMatchingKeys, FAULTS.away */
export type FindKey = (header: JWSHeaderParameters) => Promise<CryptoKey>;

const COOLDOWN_MS = 30_000;
/** From then on asked again beside the calls, so that nobody waits for it. */
const REFRESH_MS = 300_000;
/** From then on awaited: a key that the issuer has withdrawn must not count after an idle hour. */
const FRESH_MS = 600_000;
/** Of the last good keys, while the issuer is away. */
const LAST_GOOD_MS = 86_400_000;
const TIMEOUT_MS = 5_000;
const DOCUMENT_BYTES_MAX = 256 * 1024;

type Held = {
  find: ReturnType<typeof createLocalJWKSet> | null;
  fetchedMs: number;
  attemptedMs: number;
  failing: boolean;
  pending: Promise<void> | null;
};

export function openIssuerKeys(issuer: Issuer, ports: KeyPorts): FindKey {
  const held: Held = { find: null, fetchedMs: 0, attemptedMs: Number.NEGATIVE_INFINITY, failing: false, pending: null };
  const { monotonicMs } = ports.clock;
  const refresh = (): Promise<void> => {
    if (held.pending !== null) return held.pending;
    if (monotonicMs() - held.attemptedMs < COOLDOWN_MS) return Promise.resolve();
    held.attemptedMs = monotonicMs();
    held.pending = renew(held, issuer, ports).finally(() => (held.pending = null));
    return held.pending;
  };
  return async (header) => {
    const ageMs = monotonicMs() - held.fetchedMs;
    if (ageMs > LAST_GOOD_MS) held.find = null;
    if (held.find !== null && ageMs > REFRESH_MS) {
      const renewed = refresh();
      // an issuer that is known to be away must not hold up its tokens
      if (ageMs > FRESH_MS && !held.failing) await renewed;
    }
    const key = await look(held, header);
    if (key !== null) return key;
    await refresh();
    if (held.find === null) throw FAULTS.away;
    return await held.find(header);
  };
}

async function look({ find }: Held, header: JWSHeaderParameters): Promise<CryptoKey | null> {
  try {
    return find === null ? null : await find(header);
  } catch (thrown) {
    if (thrown instanceof errors.JWKSNoMatchingKey) return null;
    throw thrown;
  }
}

/** Never rejects. */
async function renew(held: Held, issuer: Issuer, { fetchDocument, clock, log }: KeyPorts): Promise<void> {
  const timeoutMs = TIMEOUT_MS;
  const endMs = clock.monotonicMs() + timeoutMs;
  const get = async (url: string, allowPrivate: boolean): Promise<JsonObject> => {
    const leftMs = Math.max(1, endMs - clock.monotonicMs());
    const bytes = await fetchDocument(url, { allowPrivate, timeoutMs: leftMs, bytesMax: DOCUMENT_BYTES_MAX });
    const document = parseJson(bytes, "rounded");
    if (!isObject(document)) throw new Error("not an object");
    return document;
  };
  try {
    const { url, allowPrivate } = await whereKeysAre(issuer, get);
    held.find = createLocalJWKSet((await get(url, allowPrivate)) as unknown as JSONWebKeySet);
    held.fetchedMs = clock.monotonicMs();
    held.failing = false;
  } catch (cause) {
    held.failing = true;
    log.warn({ issuer: issuer.issuer, err: cause }, "an issuer's keys could not be fetched: the last good ones count");
  }
}

type Get = (url: string, allowPrivate: boolean) => Promise<JsonObject>;
type Place = { readonly url: string; readonly allowPrivate: boolean };

async function whereKeysAre({ issuer, jwks, allowPrivate }: Issuer, get: Get): Promise<Place> {
  if (jwks !== null) return { url: jwks, allowPrivate };
  const { origin, pathname } = new URL(issuer);
  const path = pathname.replace(/\/$/, "");
  // OpenID Connect Discovery puts its name after the issuer's path, RFC 8414 before it
  const metadata = await get(`${origin}${path}/.well-known/openid-configuration`, allowPrivate).catch(() =>
    get(`${origin}/.well-known/oauth-authorization-server${path}`, allowPrivate),
  );
  const { issuer: named, jwks_uri: url } = metadata;
  // whoever answers there for another issuer would lend it that issuer's keys
  if (named !== issuer) throw new Error("the metadata is another issuer's");
  if (typeof url !== "string" || !isSecureUrl(url)) throw new Error("the metadata names no keys");
  // the operator let us in at the issuer's address, not wherever its document points
  return { url, allowPrivate: allowPrivate && new URL(url).origin === origin };
}
