/** What is wrong, and where? One shape for what OPA's compiler, the scan before it and the bundle reader find. */
export type Diagnostic = {
  readonly code: string;
  readonly message: string;
  /** Empty where nothing in the bundle is to blame. */
  readonly file: string;
  /** From 1; 0 where there is no place. */
  readonly row: number;
  readonly col: number;
  /** Absent where it is an error. */
  readonly severity?: "warning";
  /** Further lines of OPA's, e.g. what would have been allowed instead. */
  readonly details?: readonly string[];
};

export type Outcome<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly diagnostics: readonly Diagnostic[] };

export function fault(code: string, message: string): Diagnostic {
  return { code, message, file: "", row: 0, col: 0 };
}

/** Of a thread that failed, which says nothing of the bundle. */
export const THREAD_FAULT = "thread_fault";

const DETAIL_CHARS_MAX = 200;

/** `file:row:col: code: message`, `warning:` before the code where it is one, the details on lines of their own. */
export function formatDiagnostic(diagnostic: Diagnostic): string {
  const { file, row, col, code, message, severity, details = [] } = diagnostic;
  const place = file === "" ? "" : row === 0 ? `${file}: ` : `${file}:${row}:${col}: `;
  const kind = severity === undefined ? "" : `${severity}: `;
  return [
    `${place}${kind}${code}: ${message}`,
    ...details.map((line) => `    ${line.slice(0, DETAIL_CHARS_MAX)}`),
  ].join("\n");
}

/** A bundle that cannot be enforced. */
export class PolicyRefused extends Error {
  override readonly name = "PolicyRefused";
  readonly diagnostics: readonly Diagnostic[];
  constructor(diagnostics: readonly Diagnostic[]) {
    super(diagnostics.map(formatDiagnostic).join("\n"));
    this.diagnostics = diagnostics;
  }
}
