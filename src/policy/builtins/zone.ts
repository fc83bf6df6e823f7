/**
 * What do the clocks show there, at that moment? Offsets and abbreviations of IANA time zones, by Intl. What surprises:
 * Go's names are case-sensitive, Intl's are not; and Intl knows few abbreviations: where it gives none, neither do we.
 */
import { unfit } from "./operand.ts";

export type Zone = {
  /** Seconds east of Greenwich. */
  readonly offsetAt: (unixSeconds: number) => number;
  /** `CET`; null where nobody knows. */
  readonly nameAt: (unixSeconds: number) => string | null;
};

export const UTC: Zone = { offsetAt: () => 0, nameAt: () => "UTC" };

/** More than there are: opening one takes far longer than asking it. */
const ZONES_MAX = 1_000;
const zones = new Map<string, Zone>();

/** `Local` is UTC, as where OPA finds no other: the host's would have another answer on another host. */
export function zoneOf(name: string): Zone {
  if (name === "" || name === "UTC" || name === "Local") return UTC;
  const known = zones.get(name);
  if (known !== undefined) return known;
  if (!/^[A-Z][\w+/-]*$/i.test(name)) return unfit();
  const zone = open(name);
  if (zones.size >= ZONES_MAX) zones.clear();
  zones.set(name, zone);
  return zone;
}

function open(name: string): Zone {
  const clock = formatterOf(name);
  const canonical = clock.resolvedOptions().timeZone;
  if (canonical !== name && canonical.toLowerCase() === name.toLowerCase()) return unfit();
  const namers = namersOf(name);
  return {
    offsetAt: (unixSeconds) => offsetOf(clock, unixSeconds),
    nameAt: (unixSeconds) => nameOf(name, unixSeconds, { offset: offsetOf(clock, unixSeconds), namers: namers() }),
  };
}

type Namers = readonly Intl.DateTimeFormat[];

/** Made when first asked for, and once. */
function namersOf(timeZone: string): () => Namers {
  let made: Namers | null = null;
  return () => (made ??= LOCALES.map((locale) => new Intl.DateTimeFormat(locale, { timeZone, timeZoneName: "short" })));
}

function formatterOf(timeZone: string): Intl.DateTimeFormat {
  try {
    return new Intl.DateTimeFormat("en-US", {
      timeZone,
      hourCycle: "h23",
      era: "short",
      year: "numeric",
      month: "numeric",
      day: "numeric",
      hour: "numeric",
      minute: "numeric",
      second: "numeric",
    });
  } catch {
    return unfit();
  }
}

function offsetOf(clock: Intl.DateTimeFormat, unixSeconds: number): number {
  const shown: { [part: string]: number } = {};
  for (const { type, value } of clock.formatToParts(unixSeconds * 1000)) shown[type] = Number(value);
  const { year = 0, month = 1, day = 1, hour = 0, minute = 0, second = 0 } = shown;
  return Date.UTC(year, month - 1, day, hour, minute, second) / 1000 - unixSeconds;
}

/** Each knows the abbreviations of its own part of the world. */
const LOCALES = ["en-US", "en-GB", "en-AU", "en-ZA", "en-NZ"] as const;
/** Those on which Intl and the time zone database agree. */
const NAMES = new Set(
  `EST EDT CST CDT MST MDT PST PDT AKST AKDT HST GMT BST CET CEST EET EEST WET WEST AEST AEDT ACST ACDT AWST NZST NZDT
  SAST`.split(/\s+/),
);
/** Where they do not. */
const STRANGE = /^(?:Antarctica\/|Asia\/Colombo|Africa\/(?:Casablanca|El_Aaiun|Windhoek))/;

type Naming = { readonly offset: number; readonly namers: Namers };

function nameOf(timeZone: string, unixSeconds: number, { offset, namers }: Naming): string | null {
  if (/^(?:Etc\/)?(?:GMT|Greenwich)0?$/.test(timeZone)) return "GMT";
  if (/^(?:Etc\/)?(?:UTC|UCT|Universal|Zulu)$/.test(timeZone)) return "UTC";
  if (/^Asia\/(?:Kolkata|Calcutta)$/.test(timeZone)) return offset === 19_800 ? "IST" : null;
  if (STRANGE.test(timeZone)) return null;
  for (const namer of namers) {
    const parts = namer.formatToParts(unixSeconds * 1000);
    const name = parts.find(({ type }) => type === "timeZoneName")?.value ?? "";
    if (NAMES.has(name)) return name;
  }
  return null;
}
