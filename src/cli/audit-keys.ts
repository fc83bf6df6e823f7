/** Whose checkpoints does the asker believe, and which were kept elsewhere? For `audit verify · proof`, which work on files. */
import { basename, dirname, join } from "node:path";
import { parseNotes } from "../audit/checkpoint.ts";
import type { OutsideNote } from "../audit/claims.ts";
import { whyUnreadable } from "../config-expand.ts";
import { PIN } from "../ed25519.ts";
import { checkpointPins } from "../snapshot/keyring.ts";
import { dataFolder } from "./folder.ts";
import { CommandFault, flag } from "./io.ts";
import type { Invocation } from "./io.ts";

/** The folder that is named, or that of the configuration. */
export async function trailOf(invocation: Invocation, operand: string | undefined): Promise<string> {
  return operand ?? join(await dataFolder(invocation), "audit");
}

/** From --key, PORTCULLIS_KEYRING or the keyring beside the trail; null where there is none. @throws CommandFault */
export async function pinsOf(invocation: Invocation, trail: string): Promise<readonly string[] | null> {
  const { io } = invocation;
  const said = flag(invocation, "key");
  if (said !== null) {
    const text = PIN.test(said) ? said : await readText(invocation, said);
    const pins = text.split(/\s+/).filter((word) => PIN.test(word));
    if (pins.length === 0) throw new CommandFault(`--key: no ed25519:<id>:<public key> in ${said}`, 2);
    return pins;
  }
  const given = io.env["PORTCULLIS_KEYRING"];
  if (given !== undefined) return checkpointPins(given, "PORTCULLIS_KEYRING");
  const file = join(dirname(trail), "keyring.json");
  const text = await io.ports.disk.readFile(file, "utf8").catch(() => null);
  try {
    return text === null ? null : checkpointPins(text, "keyring.json");
  } catch {
    // one of a version that signed none
    return null;
  }
}

/** What `--checkpoints` names: a file of notes, or a folder of such files. @throws CommandFault */
export async function outsideNotes(invocation: Invocation): Promise<readonly OutsideNote[] | null> {
  const place = flag(invocation, "checkpoints");
  if (place === null) return null;
  const { disk } = invocation.io.ports;
  const names = await disk.readdir(place).catch(() => null);
  const files = names === null ? [place] : names.toSorted().map((name) => join(place, name));
  const notes: OutsideNote[] = [];
  for (const file of files) {
    const isFile = (await disk.stat(file).catch(() => null))?.isFile() ?? true;
    if (!isFile) continue;
    const found = parseNotes(await readText(invocation, file)).notes;
    notes.push(...found.map((signed) => ({ ...signed, from: basename(file) })));
  }
  if (notes.length === 0) throw new CommandFault(`${place} holds no checkpoint`, 2);
  return notes;
}

async function readText({ io }: Invocation, file: string): Promise<string> {
  return await io.ports.disk.readFile(file, "utf8").catch((fault: unknown) => {
    throw new CommandFault(`${file}: ${whyUnreadable(fault)}`, 2);
  });
}
