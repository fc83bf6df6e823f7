/** How is somebody told that his bundle will not do? Every diagnostic with the file that it is about, as far as they fit. */
import { ENFORCED } from "../config-bundle.ts";
import { Refusal } from "../refusal.ts";
import { formatDiagnostic } from "./diagnostic.ts";
import type { PolicyRefused } from "./diagnostic.ts";

const DIAGNOSTICS_MAX = 20;
const DIAGNOSTIC_CHARACTERS_MAX = 1_000;

export function refusalOf(cause: PolicyRefused, message: string): Refusal {
  const errors = cause.diagnostics.slice(0, DIAGNOSTICS_MAX).map((one) => ({
    pointer: ["", "policies", ENFORCED, ...(one.file === "" ? [] : [one.file])].map(escaped).join("/"),
    message: formatDiagnostic(one).slice(0, DIAGNOSTIC_CHARACTERS_MAX),
  }));
  return new Refusal("invalid_request", message, { errors, cause });
}

function escaped(step: string): string {
  return step.replaceAll("~", "~0").replaceAll("/", "~1");
}
