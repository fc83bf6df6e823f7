/** `config check · schema · show`: on the file alone, no gateway is asked. */
import { stringify } from "yaml";
import { ConfigFault, readConfig, readConfigFile } from "../config-file.ts";
import { maskedConfig } from "../config-mask.ts";
import { printJson } from "./io.ts";
import type { Invocation } from "./io.ts";

/** 1 if the file is wrong, 2 if there is none: what was asked about is its content. */
export async function checkConfig(invocation: Invocation): Promise<number> {
  const { io, config, json } = invocation;
  try {
    const { warnings } = await readConfigFile(config, io.env, io.ports.disk);
    if (json) printJson(invocation, { ok: true, problems: [], warnings });
    else io.stderr([...warnings.map((warning) => `warning: ${warning}`), `${config} is in order.`, ""].join("\n"));
    return 0;
  } catch (fault) {
    if (!(fault instanceof ConfigFault) || !fault.readable) throw fault;
    if (json) printJson(invocation, { ok: false, problems: fault.problems, warnings: [] });
    else io.stderr(`${fault.message}\n`);
    return 1;
  }
}

export async function printSchema({ io }: Invocation): Promise<number> {
  io.stdout(await io.ports.disk.readFile(new URL("../../schema/config.schema.json", import.meta.url), "utf8"));
  return 0;
}

export async function showConfig(invocation: Invocation): Promise<number> {
  const { io, config, json } = invocation;
  // who can read the file may see what it runs, but not what its ${…} stand for
  const shown = maskedConfig(await readConfig(config, io.env, io.ports.disk), "shown");
  if (json) printJson(invocation, shown);
  else io.stdout(stringify(shown, { lineWidth: 0 }));
  return 0;
}
