/** What does a command know of the world, and how does it speak? Data on stdout, everything for a human on stderr. */
import type { Env } from "../config-expand.ts";
import type { Ports } from "../ports.ts";

export type Serving = {
  /** Null where there is none. */
  readonly configFile: string | null;
  readonly role: "serve" | "control" | "sidecar";
  readonly control?: { readonly url: string | null; readonly keyFile: string | null };
};

/** Given by main, the only file that knows the process. */
export type Io = {
  readonly env: Env;
  readonly stdout: (text: string) => void;
  readonly stderr: (text: string) => void;
  readonly stdin: AsyncIterable<string | Buffer>;
  readonly cwd: string;
  readonly ports: Ports;
  /** Runs the gateway until it is told to stop; resolves with the exit code. */
  readonly serve: (options: Serving) => Promise<number>;
};

/** What the words after the command said. */
export type Invocation = {
  readonly io: Io;
  readonly config: string;
  readonly json: boolean;
  readonly flags: { readonly [name: string]: string | boolean | undefined };
  readonly operands: readonly string[];
};
/** Resolves with the exit code: 0 ok, 1 the thing asked about is wrong, 2 usage or a bad file. */
export type Action = (invocation: Invocation) => Promise<number>;

/** Told on stderr as it is; the process ends with `exit`. */
export class CommandFault extends Error {
  override readonly name = "CommandFault";
  readonly exit: 1 | 2;
  /** For --json: what the gateway said. */
  readonly detail: object | null;

  constructor(message: string, exit: 1 | 2, detail: object | null = null) {
    super(message);
    this.exit = exit;
    this.detail = detail;
  }
}

export function flag(invocation: Invocation, name: string): string | null {
  const value = invocation.flags[name];
  return typeof value === "string" ? value : null;
}

/** One JSON document for programs; C1 controls escaped, as a terminal would obey them. */
export function printJson({ io }: Invocation, value: unknown): void {
  io.stdout(`${JSON.stringify(value, null, 2).replaceAll(/[\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g, escapeUnit)}\n`);
}

/** Columns as wide as their widest cell. The first row is the header. */
export function printTable({ io }: Invocation, rows: readonly (readonly string[])[]): void {
  const cells = rows.map((row) => row.map((cell) => oneLine(cell)));
  const widths = (cells[0] ?? []).map((_, column) => Math.max(...cells.map((row) => row[column]?.length ?? 0)));
  for (const row of cells) {
    io.stdout(
      `${row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join("  ")
        .trimEnd()}\n`,
    );
  }
}

/**
 * Text of a server on a terminal: it could hold escape sequences that rewrite what was printed before, or turn the
 * direction of writing.
 */
export function printable(text: string): string {
  return text.replaceAll(/[\p{Cc}\u202a-\u202e\u2066-\u2069]/gu, (control) =>
    "\n\t".includes(control) ? control : "\ufffd",
  );
}

function escapeUnit(unit: string): string {
  return `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;
}

function oneLine(text: string): string {
  return printable(text.replaceAll(/\s+/g, " "));
}
