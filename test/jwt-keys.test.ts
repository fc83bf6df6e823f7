/** An issuer's keys are fetched seldom, in time, from a checked address, and its troubles are nobody else's. */
import { afterEach, beforeEach, expect, test } from "vitest";
import type { Issuer } from "../src/config-jwt.ts";
import { fetchDocument } from "../src/upstream/document.ts";
import { believing, bench, issuerOf } from "./jwt-parts.ts";
import { startIssuer } from "./support/issuer.ts";
import type { TestIssuer, Way } from "./support/issuer.ts";

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const AWAY = "the issuer's keys are away";
const UNKNOWN = "token of an unknown or ambiguous key";

let idp: TestIssuer;
beforeEach(async () => {
  idp = await startIssuer();
});
afterEach(() => idp.close());

/** One that is good for days, since the clock is turned. */
function lasting(sub: string, header = {}): Promise<string> {
  return idp.sign({ sub, exp: Math.floor(Date.now() / SECOND) + 10 * 86_400 }, header);
}

test("keys are fetched when the first token comes, once for all that come together", async () => {
  const { cause } = bench();
  const snapshot = believing([issuerOf(idp)]);
  expect(idp.asked()).toBe(0);
  const tokens = await Promise.all(Array.from({ length: 20 }, (_, at) => lasting(`c${at}`)));
  const told = await Promise.all(tokens.map((token) => cause(token, snapshot)));
  expect(new Set(told)).toEqual(new Set(["let in"]));
  expect(idp.asked()).toBe(1);
});

test("unknown key ids do not hammer the issuer: one request in 30 s", async () => {
  const { cause, skip } = bench();
  const snapshot = believing([issuerOf(idp)]);
  await cause(await lasting("carol"), snapshot);
  for (let round = 1; round <= 3; round++) {
    skip(31 * SECOND);
    for (let at = 0; at < 20; at++) {
      expect(await cause(await lasting("mallory", { kid: `made-up-${round}-${at}` }), snapshot)).toBe(UNKNOWN);
    }
    expect(idp.asked()).toBe(1 + round);
  }
});

test("a key rotation is picked up with the first token of the new key", async () => {
  const { cause, skip } = bench();
  const snapshot = believing([issuerOf(idp)]);
  expect(await cause(await lasting("carol"), snapshot)).toBe("let in");
  skip(31 * SECOND);
  await idp.rotate("keep");
  expect(await cause(await lasting("dave"), snapshot)).toBe("let in");
  expect(idp.asked()).toBe(2);
});

test("a key that the issuer has withdrawn counts no longer once its keys are ten minutes old", async () => {
  const { cause, skip } = bench();
  const snapshot = believing([issuerOf(idp)]);
  const [first, second] = [await lasting("carol"), await lasting("dave")];
  expect(await cause(first, snapshot)).toBe("let in");
  await idp.rotate("drop");
  skip(10 * MINUTE + SECOND);
  expect(await cause(second, snapshot)).toBe(UNKNOWN);
});

test("after five minutes keys are asked for again beside the calls, and nobody waits", async () => {
  const { cause, skip } = bench();
  const snapshot = believing([issuerOf(idp)]);
  await cause(await lasting("carol"), snapshot);
  skip(5 * MINUTE + SECOND);
  idp.behave("hang");
  expect(await cause(await lasting("dave"), snapshot)).toBe("let in");
  expect(await cause(await lasting("erin"), snapshot)).toBe("let in");
});

test.each<Way>(["fail", "flood", "redirect", "garbage"])(
  "an issuer that answers its keys with %s is away: nobody new is let in, and it is asked again after 30 s",
  async (way) => {
    const { cause, skip } = bench();
    const snapshot = believing([issuerOf(idp)]);
    idp.behave(way);
    const token = await lasting("carol");
    for (let round = 0; round < 5; round++) expect(await cause(token, snapshot)).toBe(AWAY);
    expect(idp.asked()).toBe(1);
    idp.behave("well");
    skip(31 * SECOND);
    expect(await cause(token, snapshot)).toBe("let in");
  },
);

test("the last good keys count for a day while the issuer is away, known tokens until they expire", async () => {
  const { cause, skip } = bench();
  const snapshot = believing([issuerOf(idp)]);
  const known = await lasting("carol");
  expect(await cause(known, snapshot)).toBe("let in");
  idp.behave("fail");
  for (const hours of [1, 22]) {
    skip(hours * HOUR);
    expect(await cause(await lasting(`after ${hours}`), snapshot)).toBe("let in");
  }
  skip(2 * HOUR);
  expect(await cause(await lasting("late"), snapshot)).toBe(AWAY);
  expect(await cause(known, snapshot)).toBe("let in");
});

test("an issuer that hangs is given up after five seconds, and holds up nobody else", async () => {
  const other = await startIssuer({ kids: "other" });
  const { cause, ask } = bench();
  const snapshot = believing([issuerOf(idp), issuerOf(other)]);
  const known = await lasting("carol");
  await cause(known, snapshot);
  const hung = await startIssuer({ kids: "hung" });
  hung.behave("hang");
  const three = believing([issuerOf(idp), issuerOf(other), issuerOf(hung)]);
  const began = performance.now();
  let settled = false;
  const waiting = cause(await hung.sign(), three).finally(() => (settled = true));
  expect(ask(known, three)).not.toBeInstanceOf(Promise);
  expect(await cause(await other.sign(), three)).toBe("let in");
  expect(settled).toBe(false);
  expect(await waiting).toBe(AWAY);
  expect(performance.now() - began).toBeLessThan(15 * SECOND);
  await hung.close();
  await other.close();
}, 30_000);

test("a stranger's failures keep no token out, known or new, that comes from the same address", async () => {
  const { cause, ask } = bench(fetchDocument, 3);
  const snapshot = believing([issuerOf(idp)]);
  const known = await lasting("carol");
  await ask(known, snapshot);
  for (let count = 0; count < 3; count++) expect(await cause("a.b.c", snapshot)).toBe("malformed token");
  expect(await cause("a.b.c", snapshot)).toBe("rate_limited");
  expect(await cause(await lasting("dave"), snapshot)).toBe("let in");
  expect(await cause(known, snapshot)).toBe("let in");
});

test("of more new tokens than may be verified at once the rest are told to come again", async () => {
  const { cause } = bench();
  const snapshot = believing([issuerOf(idp)]);
  idp.behave("hang");
  const tokens = await Promise.all(Array.from({ length: 257 }, (_, at) => lasting(`c${at}`)));
  const told = await Promise.all(tokens.map((token) => cause(token, snapshot)));
  expect(Object.fromEntries([...Map.groupBy(told, (one) => one)].map(([one, all]) => [one, all.length]))).toEqual({
    [AWAY]: 256,
    overloaded: 1,
  });
}, 30_000);

test("an entry that is taken out and put back verifies its tokens anew, with keys fetched anew", async () => {
  const { cause } = bench();
  const entry = issuerOf(idp);
  const token = await lasting("carol");
  expect(await cause(token, believing([entry]))).toBe("let in");
  expect(await cause(token, believing([]))).not.toBe("let in");
  expect(await cause(token, believing([entry]))).toBe("let in");
  // the issuer no longer has the key; an operator who changes the entry ends what it signed
  await idp.rotate("drop");
  expect(await cause(token, believing([issuerOf(idp, { clockToleranceMs: 1 })]))).toBe(UNKNOWN);
  expect(await cause(token, believing([]))).not.toBe("let in");
  expect(await cause(token, believing([issuerOf(idp, { clockToleranceMs: 1 })]))).toBe(UNKNOWN);
});

test("a discovery document that sends us for keys in the clear is not followed", async () => {
  const { cause } = bench(async (url, how) => {
    const bytes = await fetchDocument(url, how);
    return Buffer.from(bytes.toString("utf8").replace(/"jwks_uri":"[^"]+"/, '"jwks_uri":"http://keys.example/jwks"'));
  });
  expect(await cause(await lasting("carol"), believing([issuerOf(idp)]))).toBe(AWAY);
});

test.each([
  ["OpenID Connect Discovery", {}],
  ["OpenID Connect Discovery, below a path", { path: "/realms/acme" }],
  ["RFC 8414", { oauthOnly: true }],
  ["RFC 8414, below a path", { oauthOnly: true, path: "/realms/acme" }],
])("keys are found by %s", async (_, options) => {
  const one = await startIssuer(options);
  expect(await bench().cause(await one.sign(), believing([issuerOf(one)]))).toBe("let in");
  await one.close();
});

test("metadata that names another issuer is not believed", async () => {
  const liar = await startIssuer({ named: "https://idp.example" });
  expect(await bench().cause(await liar.sign(), believing([issuerOf(liar)]))).toBe(AWAY);
  // its keys said outright: its metadata is not asked
  const jwks = `${liar.issuer}/jwks`;
  expect(await bench().cause(await liar.sign(), believing([issuerOf(liar, { jwks })]))).toBe("let in");
  await liar.close();
});

test("keys are not fetched from a private address unless the file allows it", async () => {
  const closed: Partial<Issuer> = { allowPrivate: false };
  const token = await lasting("carol");
  expect(await bench().cause(token, believing([issuerOf(idp, closed)]))).toBe(AWAY);
  expect(await bench().cause(token, believing([issuerOf(idp, { ...closed, jwks: `${idp.issuer}/jwks` })]))).toBe(AWAY);
  expect(idp.asked()).toBe(0);
});

test("an issuer may be at a private address and still not send us to another one", async () => {
  const asked: (readonly [string, boolean])[] = [];
  const { cause } = bench((url, options) => {
    asked.push([url, options.allowPrivate]);
    return url.endsWith("/openid-configuration")
      ? Promise.resolve(Buffer.from(JSON.stringify({ issuer: idp.issuer, jwks_uri: "http://127.0.0.1:1/jwks" })))
      : fetchDocument(url, options);
  });
  expect(await cause(await lasting("carol"), believing([issuerOf(idp)]))).toBe(AWAY);
  expect(asked).toEqual([
    [`${idp.issuer}/.well-known/openid-configuration`, true],
    ["http://127.0.0.1:1/jwks", false],
  ]);
});
