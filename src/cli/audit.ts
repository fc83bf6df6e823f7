/** `audit tail · query`: the audit trail through the gateway, as far as its policy lets the asker see. */
import { setTimeout as sleep } from "node:timers/promises";
import { ask } from "./client.ts";
import { CommandFault, flag, printJson, printTable, printable } from "./io.ts";
import type { Invocation } from "./io.ts";
