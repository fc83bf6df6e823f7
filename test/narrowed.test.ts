/** The promise: what a later snapshot takes away is gone before its policy is warm, and what it gives is not there yet. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Key } from "../src/model.ts";
import { configSchema } from "../src/config.ts";
import { permissionsOf } from "../src/operations.ts";
import { narrowed } from "../src/snapshot/narrowed.ts";
import { publishSettings } from "../src/snapshot/published.ts";
import type { Received } from "../src/snapshot/received.ts";

type People = Readonly<Record<string, readonly string[]>>;
type Given = {
  readonly people?: People;
  readonly roles?: People;
  readonly keys?: Readonly<Record<string, string | null>>;
  readonly auth?: object;
};

function received({ people = {}, roles = {}, keys = {}, auth = {} }: Given): Received {
  const principals = Object.entries(people).map(([id, own]) => ({ id, roles: own }));
  const config = configSchema.parse({ principals, roles, auth });
  const whole = Object.entries(keys).map(([id, revokedAt]): [string, Key] => {
    const whose = { principal: "p", kind: "user", onBehalfOf: null } as const;
    return [id, { id, ...whose, hash: "sha256:00", origin: "issued", createdAt: null, revokedAt }];
  });
  return {
    settings: publishSettings(config),
    principals: config.principals,
    servers: [],
    keys: new Map(whole),
    approved: new Map(),
    discovered: new Map(),
    fresh: new Set(),
    policy: null,
    shadows: [],
    parts: [{ name: "settings", digest: JSON.stringify([people, roles, keys, auth]), local: false, text: () => "" }],
  };
}

const jwt = (more: object = {}) => ({
  jwt: [{ issuer: "https://idp.example", audience: "https://gw.example", ...more }],
});
const base = { people: { alice: ["a", "b"] }, roles: { a: ["x:1", "x:2"], b: ["y:1"] }, keys: { k: null } };

describe("between two snapshots", () => {
  test.each([
    ["a key that was revoked", { ...base, keys: { k: "now" } }, ({ keys }: Received) => keys.has("k"), false],
    ["a key that is gone", { ...base, keys: {} }, ({ keys }: Received) => keys.has("k"), false],
    ["a principal that is gone", { ...base, people: {} }, ({ principals }: Received) => principals.length, 0],
    [
      "a role that was taken from somebody",
      { ...base, people: { alice: ["b"] } },
      ({ principals }: Received) => principals[0]?.roles,
      ["b"],
    ],
    [
      "a permission that a role lost",
      { ...base, roles: { ...base.roles, a: ["x:1"] } },
      ({ settings }: Received) => settings.roles["a"],
      ["x:1"],
    ],
  ])("%s counts no longer", (_, next, look, expected) => {
    const less = narrowed(received(base), received(next));
    expect(look(less as Received)).toEqual(expected);
    expect(less?.parts.map(({ name }) => name)).toEqual(["settings", "between"]);
  });

  test("an issuer that is gone, or set otherwise, and the anonymous one count no longer", () => {
    const now = received({ ...base, auth: { ...jwt(), anonymous: { principal: "alice", paths: ["/mcp"] } } });
    for (const next of [{}, { ...jwt({ scopes: ["s"] }) }]) {
      const less = narrowed(now, received({ ...base, auth: next }));
      expect([less?.settings.auth.jwt, less?.settings.auth.anonymous]).toEqual([[], "off"]);
    }
  });

  test("whoever is newly declared is there without a role: a token in that name is refused", () => {
    const less = narrowed(received(base), received({ ...base, people: { ...base.people, mallory: ["a"] } }));
    expect(less?.principals.map(({ id, roles }) => [id, roles])).toEqual([
      ["alice", ["a", "b"]],
      ["mallory", []],
    ]);
  });

  test("nothing is done where nothing is taken away", () => {
    const more = { ...base, roles: { ...base.roles, c: ["z:1"] }, keys: { k: null, l: null }, auth: jwt() };
    expect(narrowed(received(base), received(more))).toBe(null);
  });

  test("nobody may what either of the two does not allow", () => {
    const names = fc.subarray(["a", "b", "c"]);
    const given = fc.record({
      people: fc.dictionary(fc.constantFrom("p", "q"), names),
      roles: fc.dictionary(fc.constantFrom("a", "b", "c"), fc.subarray(["x:1", "x:2", "x:3"])),
      keys: fc.dictionary(fc.constantFrom("k", "l"), fc.constantFrom(null, "now")),
    });
    const may = ({ principals, settings }: Received, id: string) =>
      permissionsOf(settings.roles, principals.find((one) => one.id === id)?.roles ?? []);
    const valid = ({ keys }: Received) =>
      [...keys.values()].filter(({ revokedAt }) => revokedAt === null).map(({ id }) => id);
    fc.assert(
      fc.property(given, given, (one, other) => {
        const [now, next] = [received(one), received(other)];
        const less = narrowed(now, next) ?? now;
        for (const id of ["p", "q"])
          for (const permission of may(less, id)) {
            expect(may(now, id)).toContain(permission);
            expect(may(next, id)).toContain(permission);
          }
        for (const id of valid(less)) {
          expect(valid(now)).toContain(id);
          expect(valid(next)).toContain(id);
        }
      }),
    );
  });
});
