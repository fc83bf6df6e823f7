/** What does --help say? Written from the table of commands. */
import { COMMANDS } from "./commands.ts";
import type { Command, Option } from "./commands.ts";

/** All commands, or those of one noun. */
export function overview(noun: string): string {
  const rows = Object.entries(COMMANDS).filter(([name]) => noun === "" || name === noun || name.startsWith(`${noun} `));
  const lines = rows.map(([name, { summary }]) => `  ${name.padEnd(16)} ${summary}`);
  const title = "portcullis: the gateway between AI agents and MCP servers";
  return `${title}\n\n${lines.join("\n")}\n\nEvery command takes --help, --config FILE and --json.\n`;
}

export function usage(name: string, command: Command, options: { readonly [name: string]: Option }): string {
  const rows = Object.entries(options).map(([option, { value, about }]) => {
    const left = value === undefined ? `--${option}` : `--${option} ${value}`;
    return `  ${left.padEnd(24)} ${about}`;
  });
  const operands = command.operands === undefined ? "" : ` ${command.operands}`;
  return `portcullis ${name}${operands} [options]\n\n${command.summary}\n\n${rows.join("\n")}\n`;
}
