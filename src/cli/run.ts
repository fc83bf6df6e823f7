/** Which command is meant, and how does it end? Parses the words by the table, answers --help, and loads the one file that runs. */
import { parseArgs } from "node:util";
import { ConfigFault } from "../config-file.ts";
import { nearest } from "../nearest.ts";
import { VERSION } from "../version.ts";
import { CLIENT_OPTIONS, COMMANDS, COMMON_OPTIONS } from "./commands.ts";
import type { Command, Option } from "./commands.ts";
import { overview, usage } from "./help.ts";
import { CommandFault } from "./io.ts";
import type { Invocation, Io } from "./io.ts";

/** Runs one command line, without the program's name; resolves with the exit code. */
export async function run(argv: readonly string[], io: Io): Promise<number> {
  const json = argv.includes("--json");
  try {
    return await dispatch(argv, io);
  } catch (thrown) {
    const { message, exit, detail } = faultOf(thrown);
    io.stderr(json ? `${JSON.stringify({ error: detail ?? { message } })}\n` : `${message}\n`);
    return exit;
  }
}

async function dispatch(argv: readonly string[], io: Io): Promise<number> {
  const [first] = argv;
  if (first === undefined) {
    io.stderr(overview(""));
    return 2;
  }
  if (first === "--help" || first === "-h" || first === "help") {
    io.stdout(overview(argv.slice(1).join(" ")));
    return 0;
  }
  if (first === "--version") {
    io.stdout(`${VERSION}\n`);
    return 0;
  }
  const name = nameOf(argv);
  if (name === null) return answerUnknown(argv, io);
  const command = COMMANDS[name] as Command;
  const words = argv.slice(name.split(" ").length);
  const options = optionsOf(command);
  const { values, positionals } = parse(name, words, options);
  if (values["help"] === true) {
    io.stdout(usage(name, command, options));
    return 0;
  }
  checkOperands(name, command, positionals);
  const action = await command.load();
  return action(invocationOf(io, values, positionals));
}

function nameOf(argv: readonly string[]): string | null {
  const [first = "", second = ""] = argv;
  if (Object.hasOwn(COMMANDS, `${first} ${second}`)) return `${first} ${second}`;
  return Object.hasOwn(COMMANDS, first) ? first : null;
}

/** `portcullis keys --help` lists the noun's commands; anything else unknown gets a suggestion. */
function answerUnknown(argv: readonly string[], io: Io): number {
  const [first = "", second = ""] = argv;
  const ofNoun = Object.keys(COMMANDS).filter((name) => name.startsWith(`${first} `));
  const asked = second === "--help" || second === "-h";
  if (ofNoun.length > 0 && (asked || second === "" || second.startsWith("-"))) {
    (asked ? io.stdout : io.stderr)(overview(first));
    return asked ? 0 : 2;
  }
  const words = ofNoun.length > 0 ? `${first} ${second}` : first;
  const nouns = [...new Set(Object.keys(COMMANDS).map((name) => name.split(" ")[0] as string))];
  const guess = nearest(words, ofNoun.length > 0 ? ofNoun : nouns);
  const hint = guess === undefined ? "see portcullis --help" : `did you mean ${guess}?`;
  throw new CommandFault(`unknown command ${JSON.stringify(words)}; ${hint}`, 2);
}

type Options = { readonly [name: string]: Option };
type Values = { readonly [name: string]: string | boolean | undefined };

function optionsOf(command: Command): Options {
  return { ...command.options, ...(command.client === true ? CLIENT_OPTIONS : {}), ...COMMON_OPTIONS };
}

function parse(name: string, words: readonly string[], options: Options): { values: Values; positionals: string[] } {
  const kinds = Object.entries(options).map(
    ([option, { value }]) =>
      [option, { type: value === undefined ? ("boolean" as const) : ("string" as const) }] as const,
  );
  for (const word of words) {
    if (word === "--") break;
    const option = /^--([^=]+)/.exec(word)?.[1];
    if (option === undefined || Object.hasOwn(options, option)) continue;
    const guess = nearest(option, Object.keys(options));
    const hint = guess === undefined ? `see portcullis ${name} --help` : `did you mean --${guess}?`;
    throw new CommandFault(`unknown option --${option}; ${hint}`, 2);
  }
  const normal = words.map((word) => (word === "-h" ? "--help" : word));
  try {
    const { values, positionals } = parseArgs({
      args: normal,
      options: Object.fromEntries(kinds),
      allowPositionals: true,
    });
    return { values, positionals };
  } catch (fault) {
    throw new CommandFault(`${(fault as Error).message.split(". ")[0] ?? ""}; see portcullis ${name} --help`, 2);
  }
}

function checkOperands(name: string, { operands = "" }: Command, given: readonly string[]): void {
  const words = operands.split(" ").filter((word) => word !== "");
  const most = words.length;
  const least = words.filter((word) => !word.startsWith("[")).length;
  if (given.length >= least && given.length <= most) return;
  const wanted = most === 0 ? "takes no operand" : `takes ${operands}`;
  throw new CommandFault(`portcullis ${name} ${wanted}; see portcullis ${name} --help`, 2);
}

function invocationOf(io: Io, values: Values, operands: readonly string[]): Invocation {
  const { config } = values;
  return {
    io,
    config: typeof config === "string" ? config : "portcullis.yaml",
    json: values["json"] === true,
    flags: values,
    operands,
  };
}

function faultOf(thrown: unknown): CommandFault {
  if (thrown instanceof CommandFault) return thrown;
  if (thrown instanceof ConfigFault) return new CommandFault(thrown.message, 2, { problems: thrown.problems });
  throw thrown;
}
