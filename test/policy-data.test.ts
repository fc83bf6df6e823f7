/** Data stays what it says, whatever it holds, while it is text: beside roles, and on its way to a sidecar. */
import fc from "fast-check";
import { expect, test } from "vitest";
import type { JsonObject, Policy, PolicySource } from "../src/model.ts";
import { dataOf, textOf, valueOf, withRoles } from "../src/policy/data.ts";
import { policyIn, publishedParts } from "../src/snapshot/parts.ts";
import { BASE_CONFIG } from "./support/gateway.ts";

const name = fc.oneof(fc.string(), fc.constantFrom("portcullis", "system", "data", "stepsMax", ',"data":'));
const json = fc.letrec((tie) => ({
  value: fc.oneof({ maxDepth: 3 }, name, fc.integer(), fc.constant(null), fc.array(tie("value")), tie("object")),
  object: fc.dictionary(name, tie("value"), { maxKeys: 4, noNullPrototype: true }),
}));
const objects = json.object as fc.Arbitrary<JsonObject>;

test("with the roles where policies find them, and nothing else moved", () => {
  fc.assert(
    fc.property(objects, objects, (data, own) => {
      const given = { ...data, portcullis: own };
      expect(JSON.parse(textOf(dataOf(data)))).toEqual(data);
      expect(valueOf(withRoles(dataOf(given), { a: ["b"] }))).toEqual({
        ...given,
        portcullis: { ...own, roles: { a: ["b"] } },
      });
    }),
  );
});

test("as a sidecar reads it, of what is enforced and of what is in shadow", () => {
  fc.assert(
    fc.property(objects, fc.integer({ min: 1_000, max: 100_000 }), (data, stepsMax) => {
      const source: PolicySource = { key: "0a1b", module: Uint8Array.of(1, 2, 3), data: JSON.stringify(data) };
      const shadow = { name: "next", policy: { source } as Policy, fault: null, stepsMax, tell: () => {} };
      const policy = { source, shadows: [shadow] } as unknown as Policy;
      const sources = { config: { ...BASE_CONFIG, principals: [], servers: [] }, keys: new Map(), policy };
      const parts = publishedParts(sources as unknown as Parameters<typeof publishedParts>[0]);
      const text = (part: string): string => parts.find((one) => one.name === part)?.text() ?? "";
      expect(policyIn(text("policy"), false)).toEqual({ source, stepsMax: null });
      expect(policyIn(text("shadow/next"), true)).toEqual({ source, stepsMax });
      expect(JSON.parse(text("shadow/next"))).toEqual({ key: "0a1b", module: "AQID", data, stepsMax });
    }),
  );
});
