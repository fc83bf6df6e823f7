/** A command line for a test: the real command, real files, and what it printed. */
import { realPorts, silent } from "../src/ports.ts";
import type { Io } from "../src/cli/io.ts";
import { run } from "../src/cli/run.ts";

export type Printed = { readonly code: number; readonly stdout: string; readonly stderr: string };
type Given = {
  readonly env?: { readonly [name: string]: string | undefined };
  readonly stdin?: string;
  readonly cwd?: string;
  readonly serve?: Io["serve"];
  /** Told as it is printed. */
  readonly onStdout?: (text: string) => void;
};

export async function portcullis(
  words: readonly string[],
  { env = {}, stdin = "", cwd = process.cwd(), serve, onStdout }: Given = {},
): Promise<Printed> {
  let stdout = "";
  let stderr = "";
  const code = await run(words, {
    env,
    stdin: (async function* () {
      yield stdin;
    })(),
    cwd,
    ports: realPorts(silent),
    stdout: (text) => {
      stdout += text;
      onStdout?.(text);
    },
    stderr: (text) => void (stderr += text),
    serve: serve ?? (() => Promise.reject(new Error("serve was not asked for"))),
  });
  return { code, stdout, stderr };
}
