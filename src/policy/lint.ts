/**
 * What compiles, and is dangerous or unwise all the same? The compiler finds the places; here stands what each means
 * and how to write it otherwise. What surprises: what could let a call through by mistake is refused in force, and a
 * warning in shadow; an annotation switches one off for a rule, a document or a package, and must say why.
 */
import { isObject } from "../json.ts";
import { nearest } from "../nearest.ts";
import type { Json } from "../model.ts";
import type { Finding, Inspection } from "./compiler.ts";
import type { Diagnostic } from "./diagnostic.ts";
import { exampleOf, obligationFault } from "./obligations.ts";

type Lint = {
  /** Else it is a warning everywhere. */
  readonly refuses: boolean;
  readonly says: (finding: Finding) => string;
  /** How to write it. */
  readonly instead: (finding: Finding) => readonly string[];
};

const REASON_CHARS_MIN = 10;

export const LINTS: { readonly [id: string]: Lint } = {
  negated_builtin: {
    refuses: true,
    says: ({ text, cause, causeAt, file }) =>
      `\`${text}\` lets a call through where ${cause} (${placeOf(causeAt, file)}) fails, for a built-in that fails is undefined`,
    instead: proof,
  },
  grant_by_absence: {
    refuses: true,
    says: ({ text, cause }) => `\`${text}\` lets a call through where ${cause} is missing or does not hold`,
    instead: proof,
  },
  no_default: {
    refuses: true,
    says: ({ rule }) => `${rule} has no default: where no definition holds, the answer is undefined`,
    instead: () => ['default decision := {"allow": false, "reasons": ["no rule allows this"], "obligations": {}}'],
  },
  host_clock: {
    refuses: false,
    says: ({ cause }) =>
      `${cause} is not part of the question: another OPA takes it from the host, and would decide otherwise`,
    instead: () => ["time.parse_rfc3339_ns(input.request.time)"],
  },
  costly_glob: {
    refuses: false,
    says: ({ text }) => `\`${text}\` is made a regular expression at every call, at three times the cost of this`,
    instead: ({ text, cause = "" }) => {
      const subject = /,\s*([^,]+)\)$/u.exec(text)?.[1] ?? "x";
      const start = cause.replace(/\*+$/u, "");
      return [start === cause ? `${subject} == "${start}"` : `startswith(${subject}, "${start}")`];
    },
  },
  untyped_order: {
    refuses: false,
    says: ({ text, cause }) =>
      `\`${text}\` holds for more than it says: OPA orders null before booleans, numbers, texts and lists, and ${cause} may be any of them`,
    instead: ({ cause }) => [`is_number(${cause})  # beside it, or is_string`],
  },
  list_reads_arguments: {
    refuses: false,
    says: ({ rule }) =>
      `a list has no arguments: this definition of ${rule} asks for one and reads them, so it never holds`,
    instead: () => ['input.request.operation == "tools/list"  # without what reads input.arguments'],
  },
  never_listed: {
    refuses: false,
    says: ({ rule }) =>
      `each definition of ${rule} reads input.arguments, which a list does not have; what no list shows cannot be called`,
    instead: ({ rule }) => [`${rule.split(".").at(-1)} if input.request.operation == "tools/list"`],
  },
  invalid_obligation: {
    refuses: false,
    says: ({ cause = "", value }) => obligationFault(cause, value) ?? "",
    instead: ({ cause = "" }) => exampleOf(cause),
  },
};

/** Errors first; in shadow, what would be refused in force is a warning too. */
export function lint(inspection: Inspection, { shadow = false } = {}): readonly Diagnostic[] {
  const obligations = inspection.obligations.filter(({ cause, value }) => obligationFault(cause, value) !== null);
  const places = [...inspection.lint, ...obligations];
  const found = places.filter(({ reason }) => reason === undefined).map((one) => told(one, shadow));
  const all = [...inspection.annotations.flatMap(switchFaults), ...found];
  return [...all.filter(isError), ...all.filter((one) => !isError(one))];
}

export function isError({ severity }: Diagnostic): boolean {
  return severity !== "warning";
}

function told(finding: Finding, shadow: boolean): Diagnostic {
  const { lint: code, file, row, col } = finding;
  const known = LINTS[code];
  if (known === undefined) throw new Error(`The compiler found ${code}, which is not known here.`);
  const details = ["write it so:", ...known.instead(finding).map((line) => `  ${line}`)];
  const diagnostic = { code, message: known.says(finding), file, row, col, details };
  return known.refuses && !shadow ? diagnostic : { ...diagnostic, severity: "warning" };
}

function placeOf(at: string | undefined, here: string): string {
  return at?.startsWith(`${here}:`) ? `line ${at.slice(here.length + 1)}` : (at ?? "elsewhere");
}

/** What is true only if it was proved: the default is the refusal, and a built-in that fails proves nothing. */
function proof({ text, rule }: Finding): readonly string[] {
  const negated = /^not\s+(.*)$/su.exec(text)?.[1];
  const name = rule.split(".").at(-1);
  if (negated !== undefined && /^[\w.]+\(.*\)$/su.test(negated)) return [`${negated} == false`];
  const subject = negated !== undefined && /^\w+$/u.test(negated) ? negated : "denied";
  return [
    `default ${subject} := true`,
    `${subject} := false if { … }  # what proves that nothing is wrong`,
    `${name} if ${subject} == false`,
  ];
}

function switchFaults({ annotations, file, row }: Inspection["annotations"][number]): readonly Diagnostic[] {
  const custom = annotations.custom?.["portcullis"];
  const switches = isObject(custom) ? custom["lint"] : undefined;
  if (switches === undefined) return [];
  const at = (message: string): Diagnostic => ({ code: "lint_switch", message, file, row, col: 1 });
  if (!isObject(switches)) return [at("`lint` holds what is switched off, each with its reason")];
  return Object.entries(switches).flatMap(([id, reason]) => {
    if (!Object.hasOwn(LINTS, id)) {
      const meant = nearest(id, Object.keys(LINTS));
      return [at(`there is no lint ${id}${meant === undefined ? "" : `: was ${meant} meant?`}`)];
    }
    return isReason(reason) ? [] : [at(`${id} is switched off without a reason: say why it is safe here`)];
  });
}

function isReason(reason: Json | undefined): boolean {
  return typeof reason === "string" && reason.trim().length >= REASON_CHARS_MIN;
}
