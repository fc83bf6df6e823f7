/**
 * JSON Schema to a function, by Ajv. What surprises: `format` is not checked (2020-12 makes it an annotation, and the
 * server knows its own formats better); a pattern that is none under the `u` flag is read without it, as browsers do;
 * unknown keywords, such as `x-mcp-header`, are ignored. Nothing is ever fetched.
 */
import type { Ajv, ErrorObject, Options } from "ajv";
import type { JsonObject } from "../model.ts";

export const DIALECTS = ["2020-12", "2019-09", "draft-07"] as const;
export type Dialect = (typeof DIALECTS)[number];
/** Ajv's function; `unknown`, since a schema with `$async` would have it answer with a promise, which is true too. */
export type Check = { (args: JsonObject): unknown; errors?: readonly ErrorObject[] | null };
export type Fault = { readonly pointer: string; readonly message: string };

/** `untrusted`: checked against its meta-schema first, in an Ajv of its own, where its names can meet no other's. */
export type CompileOptions = { readonly untrusted: boolean; readonly allErrors: boolean };
/** @throws Error where the schema is none */
export type Compile = (schema: JsonObject, options: CompileOptions) => Check;

/** The dialects that a schema may be meant in, in order; none where it names one that is not supported. */
export function dialectsOf(schema: JsonObject): readonly Dialect[] {
  const named = schema["$schema"];
  // before MCP said 2020-12, servers wrote draft-07 without saying so: its tuples are an error in 2020-12
  if (named === undefined) return ["2020-12", "draft-07"];
  if (typeof named !== "string") return [];
  if (/^https?:\/\/json-schema\.org\/draft-0[67]\/schema#?$/.test(named)) return ["draft-07"];
  return DIALECTS.filter((dialect) => named.replace(/#$/, "") === `https://json-schema.org/draft/${dialect}/schema`);
}

const compilers = new Map<Dialect, Promise<Compile>>();

/** One for each thread and dialect. Ajv is loaded at the first schema, not at start. */
export function loadCompiler(dialect: Dialect): Promise<Compile> {
  const loading = compilers.get(dialect) ?? LOADERS[dialect]().then(compilerOf);
  compilers.set(dialect, loading);
  return loading;
}

function compilerOf(create: (options: Options) => Ajv): Compile {
  const meta = once(() => create({ ...OPTIONS, meta: true }));
  let shared: { readonly ajv: Ajv; uses: number } | undefined;
  return (schema, { untrusted, allErrors }) => {
    const { $schema: _dialect, $async: _async, ...rest } = schema;
    if (untrusted) {
      if (meta().validateSchema(rest) !== true) throw new Error("The schema is none of its dialect.");
      return create({ ...OPTIONS, meta: true, allErrors }).compile(rest);
    }
    if (allErrors) return create({ ...OPTIONS, meta: false, allErrors }).compile(rest);
    // an Ajv keeps what it has compiled; one for each schema would weigh more
    if (shared === undefined || shared.uses >= SHARED_USES_MAX) {
      shared = { ajv: create({ ...OPTIONS, meta: false, addUsedSchema: false }), uses: 0 };
    }
    shared.uses++;
    return shared.ajv.compile(rest);
  };
}

/** What a caller may hear: where, and a text of ours. Neither values nor the schema's own words are repeated. */
export function faultsIn(check: Check, args: JsonObject): readonly Fault[] {
  if (check(args) === true) return NONE;
  const faults = faultsOf(check.errors ?? []);
  return faults.length > 0 ? faults : [{ pointer: "", message: NOT_VALID }];
}

function faultsOf(errors: readonly ErrorObject[]): readonly Fault[] {
  const faults = new Map<string, Fault>();
  for (const error of errors) {
    const fault = faultOf(error);
    faults.set(`${fault.pointer} ${fault.message}`, fault);
    if (faults.size === FAULTS_MAX) break;
  }
  return [...faults.values()];
}

const LOADERS: { readonly [dialect in Dialect]: () => Promise<(options: Options) => Ajv> } = {
  "2020-12": async () => {
    const { Ajv2020 } = await import("ajv/dist/2020.js");
    return (options) => new Ajv2020(options);
  },
  "2019-09": async () => {
    const { Ajv2019 } = await import("ajv/dist/2019.js");
    return (options) => new Ajv2019(options);
  },
  "draft-07": async () => {
    const { Ajv } = await import("ajv");
    return (options) => new Ajv(options);
  },
};

const lenientRegExp = Object.assign(
  (pattern: string, flags: string): RegExp => {
    try {
      return new RegExp(pattern, flags);
    } catch {
      return new RegExp(pattern);
    }
  },
  { code: "new RegExp" },
);

const OPTIONS: Options = {
  strict: false,
  logger: false,
  validateFormats: false,
  validateSchema: false,
  // every object inherits a constructor, and no caller sent it
  ownProperties: true,
  code: { regExp: lenientRegExp },
};

function once<T>(make: () => T): () => T {
  let made: { readonly value: T } | undefined;
  return () => (made ??= { value: make() }).value;
}

function faultOf({ keyword, instancePath, params, message }: ErrorObject): Fault {
  const given: unknown = params[NAMED_BY[keyword] ?? ""];
  const pointer =
    typeof given === "string" ? `${instancePath}/${given.replaceAll("~", "~0").replaceAll("/", "~1")}` : instancePath;
  const text = MESSAGES[keyword] ?? (OWN_WORDS.has(keyword) ? message : undefined) ?? NOT_VALID;
  return { pointer: pointer.slice(0, POINTER_LENGTH_MAX), message: text.slice(0, MESSAGE_LENGTH_MAX) };
}

/** The parameter that names the member at fault. */
const NAMED_BY: { readonly [keyword: string]: string } = {
  required: "missingProperty",
  dependentRequired: "missingProperty",
  dependencies: "missingProperty",
  additionalProperties: "additionalProperty",
  unevaluatedProperties: "unevaluatedProperty",
  propertyNames: "propertyName",
};
const MESSAGES: { readonly [keyword: string]: string } = {
  required: "is required",
  dependentRequired: "is required beside the others",
  dependencies: "is required beside the others",
  additionalProperties: "is not allowed",
  unevaluatedProperties: "is not allowed",
  "false schema": "is not allowed",
  propertyNames: "has a name that is not allowed",
  pattern: "must match the pattern",
  enum: "must be one of the allowed values",
  const: "must be the one allowed value",
};
/** Ajv's text of these has numbers and names of types in it, nothing of the server's or the caller's. */
const OWN_WORDS: ReadonlySet<string> = new Set(
  (
    "type minimum maximum exclusiveMinimum exclusiveMaximum multipleOf minLength maxLength minItems maxItems " +
    "uniqueItems contains minProperties maxProperties anyOf oneOf not"
  ).split(" "),
);

const NONE: readonly Fault[] = [];
const NOT_VALID = "is not valid";
const FAULTS_MAX = 10;
const POINTER_LENGTH_MAX = 256;
const MESSAGE_LENGTH_MAX = 128;
const SHARED_USES_MAX = 100;
