/**
 * The children of a recorded span, drawn from the numbers in it: which version answers, what policy said, what the limits
 * said, and each attempt as the MCP client span of the convention. What surprises: nothing is measured for them beyond the
 * record, and their ids are those that the upstream heard; whoever draws a record again draws the same spans.
 */
import { STAGES } from "../model.ts";
import type { Stage } from "../model.ts";
import { CHILD, childSpanId } from "../trace.ts";
import type { AttributeName } from "./attributes.ts";
import type { AttributeValue, RecordedSpan } from "./span.ts";

/** The record's own span first. An intent has no children: it is one. */
export function spansOf(record: RecordedSpan): readonly RecordedSpan[] {
  return [record, ...stageSpans(record), ...attemptSpans(record)];
}

const STAGE_SPANS: readonly {
  readonly name: keyof typeof CHILD;
  readonly stage: Stage;
  readonly attributes: readonly AttributeName[];
  /** Shown only where the record has it, or where the call ended in this stage. */
  readonly proof: AttributeName;
}[] = [
  {
    name: "route",
    stage: "resolve",
    attributes: [
      "portcullis.server.name",
      "portcullis.server.version",
      "portcullis.route.reason",
      "portcullis.route.from",
    ],
    proof: "portcullis.server.name",
  },
  {
    name: "policy",
    stage: "authorize",
    attributes: ["portcullis.decision", "portcullis.reasons", "portcullis.policy.revision"],
    proof: "portcullis.decision",
  },
  {
    name: "limit",
    stage: "limit",
    attributes: ["portcullis.limit.name", "portcullis.limit.remaining"],
    proof: "portcullis.limit.name",
  },
];

function stageSpans(record: RecordedSpan): readonly RecordedSpan[] {
  const ends = numbersOf(record, "portcullis.stage.ends");
  return STAGE_SPANS.flatMap(({ name, stage, attributes, proof }) => {
    const at = STAGES.indexOf(stage);
    const to = ends[at];
    if (to === undefined) return [];
    const ended = at === ends.length - 1 && record.status === "error";
    if (!ended && !record.attributes.has(proof)) return [];
    const error = ended ? textOf(record, "error.type") : null;
    return [
      childOf(record, CHILD[name], {
        name,
        kind: "internal",
        from: ends[at - 1] ?? 0,
        to,
        error,
        attributes: pick(record, attributes),
      }),
    ];
  });
}

const CALLED: readonly AttributeName[] = [
  "mcp.method.name",
  "gen_ai.operation.name",
  "gen_ai.tool.name",
  "mcp.server.name",
  "portcullis.server.name",
  "portcullis.server.version",
];

/** One per attempt; a call that was denied has none. */
function attemptSpans(record: RecordedSpan): readonly RecordedSpan[] {
  const times = numbersOf(record, "portcullis.attempt.times");
  const errors = record.attributes.get("portcullis.attempt.errors") ?? [];
  const instances = record.attributes.get("portcullis.attempt.instances") ?? [];
  const count = Math.floor(times.length / 2);
  return Array.from({ length: count }, (_, at) => {
    const said = textOf(record, "error.type") ?? "";
    // the last one's answer is the call's
    const answered = at === count - 1 && (said === "tool_error" || /^-?\d+$/.test(said)) ? said : "";
    const error = (Array.isArray(errors) ? String(errors[at] ?? "") : "") || answered;
    const instance =
      (Array.isArray(instances) ? instances[at] : undefined) ?? record.attributes.get("portcullis.instance");
    const attributes = pick(record, CALLED);
    if (instance !== undefined) attributes.set("portcullis.instance", instance as AttributeValue);
    if (/^-?\d+$/.test(error)) attributes.set("rpc.response.status_code", error);
    return childOf(record, CHILD.attempt + at, {
      name: record.name,
      kind: "client",
      from: times[2 * at] ?? 0,
      to: times[2 * at + 1] ?? 0,
      error: error === "" ? null : error,
      attributes,
    });
  });
}

type Drawn = Pick<RecordedSpan, "name" | "kind"> & {
  /** Microseconds since the record's start. */
  readonly from: number;
  readonly to: number;
  readonly error: string | null;
  readonly attributes: Map<string, AttributeValue>;
};

function childOf(
  record: RecordedSpan,
  child: number,
  { name, kind, from, to, error, attributes }: Drawn,
): RecordedSpan {
  const start = BigInt(record.start);
  if (error !== null) attributes.set("error.type" satisfies AttributeName, error);
  return {
    traceId: record.traceId,
    spanId: childSpanId(record.spanId, child),
    parentSpanId: record.spanId,
    parentIsRemote: false,
    name,
    kind,
    links: [],
    start: String(start + BigInt(from) * 1000n),
    end: String(start + BigInt(Math.max(from, to)) * 1000n),
    status: error === null ? "unset" : "error",
    statusMessage: null,
    attributes,
  };
}

/** What joins a child to its call wherever it is found alone, and the named ones that the record has. */
function pick(record: RecordedSpan, names: readonly AttributeName[]): Map<string, AttributeValue> {
  const attributes = new Map<string, AttributeValue>();
  for (const name of ["portcullis.call.id", ...names] as const) {
    const value = record.attributes.get(name);
    if (value !== undefined) attributes.set(name, value);
  }
  return attributes;
}

function textOf(record: RecordedSpan, name: AttributeName): string | null {
  const value = record.attributes.get(name);
  return typeof value === "string" ? value : null;
}

function numbersOf(record: RecordedSpan, name: AttributeName): readonly number[] {
  const value = record.attributes.get(name);
  return Array.isArray(value) && value.every((item) => typeof item === "number") ? value : [];
}
