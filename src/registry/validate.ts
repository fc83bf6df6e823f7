/**
 * Do the arguments fit the tool's input schema? The schema is the server's, so it is hostile: a worker compiles it first
 * and counts its work. What can be counted is then checked here, in a microsecond; the rest in the worker, with a
 * deadline. What surprises: a schema that cannot be used refuses every call of its tool, since "anything goes" would let
 * a server switch the check off; `status()` names such tools.
 */
import { isObject, parseJsonText } from "../json.ts";
import type { JsonObject, Tool } from "../model.ts";
import type { Permit } from "../policy/authorize.ts";
import type { Ports } from "../ports.ts";
import { Refusal } from "../refusal.ts";
import { canonical, fingerprint } from "./fingerprint.ts";
import { faultsIn, loadCompiler } from "./schema-compile.ts";
import type { Check, Fault } from "./schema-compile.ts";
import { createSchemaThread } from "./schema-thread.ts";
import type { Deadlines, SchemaThread } from "./schema-thread.ts";
import { fits } from "./schema-work.ts";
import type { SchemaWork } from "./schema-work.ts";

export type Validators = {
  /** Compiles the schemas that are new. Resolves when all are known; never rejects. */
  readonly prepare: (tools: readonly Tool[]) => Promise<void>;
  /** Ids of tools whose schema cannot be used, and of those that are checked in the worker. */
  readonly status: (tools: readonly Tool[]) => {
    readonly unusable: readonly string[];
    readonly slow: readonly string[];
  };
  readonly schemaOf: (tool: Tool) => Schema;
  readonly thread: SchemaThread;
  readonly close: () => void;
};

/** How long a hostile schema may take: to compile, to check one call's arguments, and to wait for its turn. */
export function createValidators(options: Partial<Deadlines>, ports: Pick<Ports, "log">): Validators {
  const thread = createSchemaThread({ compileMs: 2000, checkMs: 250, waitMs: 5000, idleMs: 5000, ...options });
  const byTool = new WeakMap<Tool, Schema>();
  const byDigest = new Map<string, Schema>();
  const schemaOf = (tool: Tool): Schema => {
    const known = byTool.get(tool);
    if (known !== undefined) return known;
    const schema = schemaFor(byDigest, tool);
    byTool.set(tool, schema);
    return schema;
  };
  const prepare = async (tools: readonly Tool[]): Promise<void> => {
    // one at a time: calls that wait for a schema of their own come in between
    for (const tool of tools) {
      const schema = schemaOf(tool);
      if (schema.use !== null) continue;
      await probe(thread, schema);
      if (schemaOf(tool).use?.kind === "unusable")
        ports.log.warn({ tool: tool.id }, "A tool's input schema cannot be used.");
    }
  };
  const status: Validators["status"] = (tools) => {
    const ids = (kind: Use["kind"]) => tools.filter((tool) => byTool.get(tool)?.use?.kind === kind).map(({ id }) => id);
    return { unusable: ids("unusable"), slow: ids("worker") };
  };
  return { prepare, status, schemaOf, thread, close: thread.close };
}

/** @throws Refusal invalid_arguments, at most ten errors, none of which repeats a value; overloaded */
export function validate(validators: Validators, permit: Permit, args: JsonObject): void | Promise<void> {
  const found = faults(validators, permit.tool, args);
  return found instanceof Promise ? found.then(refuse) : refuse(found);
}

/** What is wrong with the arguments; empty where nothing is. @throws Refusal overloaded */
export function faults(
  validators: Validators,
  tool: Tool,
  args: JsonObject,
): readonly Fault[] | Promise<readonly Fault[]> {
  const schema = validators.schemaOf(tool);
  const { use } = schema;
  // the common case, without a promise
  if (use?.kind === "main" && fits(args, use.work)) return checkHere(use, args);
  return slowFaults(validators.thread, schema, args);
}

export type Schema = {
  /** SHA-256 of the canonical text. */
  readonly digest: string;
  readonly text: string;
  use: Use | null;
  probing: Promise<void> | null;
  /** Probes that were begun and not ended in time: once may be a busy machine's fault, three times are the schema's. */
  failures: number;
};
type Use =
  | { readonly kind: "main"; readonly check: Check; readonly work: SchemaWork; readonly explain: () => Check }
  | { readonly kind: "worker" }
  | { readonly kind: "unusable" };

function schemaFor(byDigest: Map<string, Schema>, tool: Tool): Schema {
  const schema = tool.definition["inputSchema"];
  if (!isObject(schema)) return { digest: "", text: "", use: { kind: "unusable" }, probing: null, failures: 0 };
  const digest = fingerprint(schema);
  const known = byDigest.get(digest);
  const found = known ?? { digest, text: canonical(schema), use: null, probing: null, failures: 0 };
  byDigest.delete(digest);
  byDigest.set(digest, found);
  const oldest = byDigest.keys().next().value;
  if (byDigest.size > SCHEMAS_MAX && oldest !== undefined) byDigest.delete(oldest);
  return found;
}

/** Asks the worker once, however many calls wait for the answer. */
async function probe(thread: SchemaThread, schema: Schema): Promise<void> {
  if (schema.use !== null) return;
  schema.probing ??= askUse(thread, schema).then((use) => {
    schema.use = use;
    schema.probing = null;
  });
  await schema.probing;
}

async function askUse(thread: SchemaThread, one: Schema): Promise<Use | null> {
  const { digest, text } = one;
  if (text.length > TEXT_MAX) return { kind: "unusable" };
  const reply = await thread.ask({ kind: "probe", digest, text });
  if (reply?.kind === "uncompiled" && ++one.failures >= FAILURES_MAX) return { kind: "unusable" };
  if (reply?.kind !== "verdict") return null;
  if (reply.verdict.kind !== "main") return { kind: reply.verdict.kind };
  try {
    const compile = await loadCompiler(reply.verdict.dialect);
    const schema = parseJsonText(text, "rounded") as JsonObject;
    const check = compile(schema, { untrusted: false, allErrors: false });
    let all: Check | undefined;
    const explain = () => (all ??= compile(schema, { untrusted: false, allErrors: true }));
    return { kind: "main", check, work: reply.verdict.work, explain };
  } catch {
    return { kind: "unusable" };
  }
}

async function slowFaults(thread: SchemaThread, schema: Schema, args: JsonObject): Promise<readonly Fault[]> {
  await probe(thread, schema);
  const { use, digest, text } = schema;
  if (use === null) throw busy();
  if (use.kind === "unusable") return UNUSABLE;
  if (use.kind === "main" && fits(args, use.work)) return checkHere(use, args);
  const reply = await thread.ask({ kind: "check", digest, text, args });
  if (reply?.kind === "faults") return reply.faults;
  if (reply?.kind === "overrun") return LATE;
  throw busy();
}

/** Nothing is known against these arguments: their turn did not come. */
function busy(): Refusal {
  return new Refusal("overloaded", "The gateway is too busy to check the arguments.", { retryAfterMs: RETRY_MS });
}

/** All that is wrong at once, where looking for it is cheap: a model should not have to find out one by one. */
function checkHere({ check, work, explain }: Use & { readonly kind: "main" }, args: JsonObject): readonly Fault[] {
  const first = faultsIn(check, args);
  if (first.length === 0 || !fits(args, { ...work, steps: work.steps * EXPLAIN_FACTOR })) return first;
  return faultsIn(explain(), args);
}

function refuse(found: readonly Fault[]): void {
  if (found.length === 0) return;
  if (found === LATE || found === UNUSABLE)
    throw new Refusal("invalid_arguments", found[0]?.message ?? "", { errors: [] });
  throw new Refusal("invalid_arguments", "The tool's input schema refuses these arguments.", { errors: found });
}

const LATE: readonly Fault[] = [{ pointer: "", message: "The arguments could not be checked in time." }];
const UNUSABLE: readonly Fault[] = [{ pointer: "", message: "The tool's input schema cannot be used." }];
const RETRY_MS = 1000;
const SCHEMAS_MAX = 5000;
const TEXT_MAX = 1024 * 1024;
const FAILURES_MAX = 3;
const EXPLAIN_FACTOR = 20;
