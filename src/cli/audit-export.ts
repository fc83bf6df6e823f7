/** `audit export`: the trail as OTLP/JSON or as flat lines, from the files, without a gateway or beside a running one. */
import { join } from "node:path";
import { exportLines } from "../audit/export-file.ts";
import type { ExportFormat } from "../audit/export-file.ts";
import { GATHERED } from "../audit/gather.ts";
import { whyUnreadable } from "../config-expand.ts";
import { dataFolder } from "./folder.ts";
import { CommandFault, flag } from "./io.ts";
import type { Invocation } from "./io.ts";

const FORMATS: readonly ExportFormat[] = ["otlp-json", "jsonl"];

/** The trail of the folder, and those that were gathered from sidecars. */
export async function exportAudit(invocation: Invocation): Promise<number> {
  const { io, operands } = invocation;
  const wanted = flag(invocation, "format") ?? "otlp-json";
  const format = FORMATS.find((one) => one === wanted);
  if (format === undefined) throw new CommandFault(`--format takes ${FORMATS.join(" or ")}`, 2);
  const between = { sinceMs: timeOf(invocation, "since"), untilMs: timeOf(invocation, "until") };
  const own = operands[0] ?? join(await dataFolder(invocation), "audit");
  const gathered = join(own, GATHERED);
  const names = await io.ports.disk.readdir(gathered).catch(() => []);
  let records = 0;
  for (const folder of [own, ...names.toSorted().map((name) => join(gathered, name))]) {
    try {
      for await (const line of exportLines(folder, format, between)) {
        records++;
        io.stdout(`${line}\n`);
      }
    } catch (fault) {
      throw new CommandFault(`${folder}: ${whyUnreadable(fault)}`, 2);
    }
  }
  io.stderr(`${records} records.\n`);
  return 0;
}

export function timeOf(invocation: Invocation, name: string): number | null {
  const text = flag(invocation, name);
  if (text === null) return null;
  const ms = Date.parse(text);
  if (Number.isNaN(ms)) throw new CommandFault(`--${name} takes a time such as 2026-08-01T12:00:00Z`, 2);
  return ms;
}
