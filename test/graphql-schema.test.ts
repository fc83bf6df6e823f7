/** Is schema/gateway.graphql the whole truth? Each field has a resolver or is a property, and no resolver is without a field. */
import { readFileSync } from "node:fs";
import { buildSchema, isEnumType, isObjectType, isScalarType, isSpecifiedScalarType } from "graphql";
import { describe, expect, test } from "vitest";
import { STAT_FIELDS } from "../src/audit/projection-stats.ts";
import { createEngine } from "../src/doors/graphql/engine.ts";
import { createResolvers } from "../src/doors/graphql/resolvers.ts";

const sdl = readFileSync(new URL("../schema/gateway.graphql", import.meta.url), "utf8");
const schema = buildSchema(sdl);
const resolvers: { readonly [type: string]: object } = createResolvers();

/** Fields that are properties of what the parent's resolver returns; held against real answers by the other tests. */
const PROPERTIES: { readonly [type: string]: readonly string[] } = {
  Principal: ["id", "kind", "roles", "permissions", "tenant", "onBehalfOf"],
  Server: ["name"],
  ServerVersion: ["version", "isDefault", "state", "discoveredAt"],
  Tool: ["id", "name", "version", "upstreamName", "annotations", "permissions", "tags", "digest", "stale"],
  ToolChange: ["tool", "from", "to", "kind", "verdict", "findings", "before", "after"],
  VersionHealth: ["version", "running", "waiting", "retries", "openTools", "instances", "limits"],
  LimitTotal: ["name", "kind", "limit", "windowMs", "charged", "refused", "held"],
  InstanceHealth: ["id", "state", "breaker", "weight", "inFlight", "ewma", "ejections", "lastError"],
  ChangeFinding: ["verdict", "path", "message"],
  LimitUse: ["name", "windowMs", "resetMs"],
  Decision: ["allowed", "reasons", "limits", "errors", "explanation"],
  Explanation: ["revision", "obligations", "rules", "values", "nearest", "missing"],
  ExplainedRule: ["path", "file", "row", "held", "failedAt"],
  ExplainedValue: ["path", "value"],
  Turn: ["change", "name"],
  ArgumentError: ["pointer", "message"],
  CallResult: ["callId", "content", "structuredContent", "isError", "meta", "limit"],
  ToolsChanged: ["revision", "added", "removed", "changed"],
  Call: [
    "callId",
    "time",
    "principal",
    "onBehalfOf",
    "tenant",
    "interface",
    "operation",
    "tool",
    "server",
    "version",
    "decision",
    "reasons",
    "outcome",
    "errorType",
    "executed",
    "durationMs",
    "attempts",
    "policyRevision",
    "traceId",
    "arguments",
    "count",
    "writer",
  ],
  CallConnection: ["edges", "pageInfo", "totalCount", "behind"],
  CallStats: ["groups", "more", "behind"],
  CallGroup: ["from", ...STAT_FIELDS, "count", "refusals", "errors", "p50Ms", "p95Ms"],
  CallRecorded: ["call", "missed"],
  PageInfo: ["hasNextPage", "hasPreviousPage", "startCursor", "endCursor"],
};
const CONNECTION = ["edges", "pageInfo", "totalCount"];
const EDGE = ["cursor", "node"];
const types = Object.values(schema.getTypeMap()).filter(({ name }) => !name.startsWith("__"));
const sorted = (names: Iterable<string>): string[] => [...names].toSorted();

describe("the schema", () => {
  test.each(types.filter(isObjectType).map((type) => [type.name, type] as const))(
    "%s has for each field a resolver or a property, and for each of these a field",
    (name, type) => {
      const resolved = Object.keys(resolvers[name] ?? {});
      const properties =
        PROPERTIES[name] ?? (name.endsWith("Connection") ? CONNECTION : name.endsWith("Edge") ? EDGE : []);
      expect(sorted([...resolved, ...properties])).toEqual(sorted(Object.keys(type.getFields())));
    },
  );

  test("each scalar of ours, and each enum that the product spells in lower case, has its values", () => {
    for (const type of types) {
      if (isScalarType(type) && !isSpecifiedScalarType(type))
        expect(Object.keys(resolvers[type.name] ?? {})).toContain("parseLiteral");
      if (isEnumType(type) && type.name !== "ToolFormat") {
        expect(sorted(Object.keys(resolvers[type.name] ?? {}))).toEqual(
          sorted(type.getValues().map((value) => value.name)),
        );
      }
    }
  });

  test("no resolver is for a type that is not there", () => {
    expect(Object.keys(resolvers).filter((name) => schema.getType(name) === undefined)).toEqual([]);
  });

  test("a resolver without a field stops the engine from being made", () => {
    expect(() => createEngine(sdl)).not.toThrow();
    expect(() => createEngine(sdl.replace("mayCall(", "mightCall("))).toThrow("mayCall");
  });
});
