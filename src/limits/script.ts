/**
 * What Redis does for some calls, one after the other: of each all limits are weighed, by Redis's own clock, and then charged
 * together or not at all. The sums are those of meters.ts. What surprises: what a changed limit makes doubtful counts as of
 * now, since a call too many is worse than one too few; and a full Redis refuses a script only before its first write, so what adds comes
 * before what takes away. What stands under a limit's key and is none of its counts goes: it would keep all others from
 * being counted. Times are microseconds since 1970, which a double holds exactly.
 *
 * ARGV: the deadline in milliseconds; then of each call its id, or nothing where it only looks, its cost, how many of the keys are its
 * own, and their terms. Answers of each key whether it is full (0), charged (1) or spared (2), what is left, and until when.
 * Nothing where it is late.
 */
import type { Limit } from "../model.ts";
import { meterOf } from "./terms.ts";

/** How long a place is held without a word of its holder, in milliseconds. */
export const LEASE_MS = 10_000;

const NOW = `
local time = redis.call('time')
local now = time[1] * 1000000 + time[2]
local function expire(key, at) redis.call('pexpireat', key, string.format('%.0f', math.ceil(at / 1000))) end
`;

const LOG = `
function weigh.log(key, limit, window, price)
  local since = now - window + 1
  local left = limit - redis.call('zcount', key, since, '+inf')
  local missing = wanted(left, price) - left
  if missing <= 0 then return left, window end
  local freeing = redis.call('zrangebyscore', key, since, '+inf', 'withscores', 'limit', missing - 1, 1)[2]
  return left, freeing and freeing + window - now or window
end
function charge.log(key, limit, window, price)
  for unit = 1, price do redis.call('zadd', key, now, unit == 1 and id or id .. ':' .. unit) end
  redis.call('zremrangebyscore', key, '-inf', now - window)
  expire(key, now + window)
end
`;

/** `slot`: the newest sub-window that was charged; `sum`: of it and the 256 before, each in a field of its own. */
const WIDE = `
local turned = {}
local function settle(key, slot, sum, window)
  redis.call('hset', key, 'sum', sum)
  redis.call('del', key)
  redis.call('hset', key, 'slot', slot, 'sum', sum, 'window', window, slot % 257, sum)
  expire(key, now + window + window / 256)
end
function weigh.wide(key, limit, window, price)
  local kept = redis.call('hmget', key, 'slot', 'sum', 'window')
  local before = tonumber(kept[3]) or window
  local width = before / 256
  local slot = math.floor(now / width)
  local last, sum, over, anew = tonumber(kept[1]) or slot, tonumber(kept[2]) or 0, {}, not kept[3]
  if slot - last > 256 then
    sum, anew = 0, true
  elseif slot > last then
    for at = last + 1, slot do over[#over + 1] = at % 257 end
    for _, count in ipairs(redis.call('hmget', key, unpack(over))) do sum = sum - (count or 0) end
  else
    slot = last
  end
  if before ~= window then
    width = window / 256
    slot, anew = math.floor(now / width), true
    if sum > 0 and id ~= '' then settle(key, slot, sum, window) end
  end
  turned[key] = {slot = slot, sum = sum, over = over, anew = anew}
  local left = limit - sum
  local missing = wanted(left, price) - left
  if missing <= 0 then return left, window end
  if anew then return left, (slot + 257) * width - now end
  local fields = {}
  for at = slot - 256, last do fields[#fields + 1] = at % 257 end
  for at, count in ipairs(redis.call('hmget', key, unpack(fields))) do
    missing = missing - (count or 0)
    if missing <= 0 then return left, (slot + at) * width - now end
  end
  return left, (slot + 257) * width - now
end
function charge.wide(key, limit, window, price)
  local kept = turned[key]
  if kept.anew then
    settle(key, kept.slot, kept.sum + price, window)
  else
    redis.call('hset', key, 'slot', kept.slot, 'sum', kept.sum + price)
    if #kept.over > 0 then redis.call('hdel', key, unpack(kept.over)) end
    redis.call('hincrby', key, kept.slot % 257, price)
    expire(key, now + window + window / 256)
  end
end
`;

/** The package's own form: a number that expires. */
const FIXED = `
local runs = {}
function weigh.fixed(key, limit, window, price)
  local rest = redis.call('pttl', key) * 1000
  runs[key] = rest > 0
  if rest <= 0 then return limit, window end
  if rest > window and id ~= '' then expire(key, now + window) end
  return limit - redis.call('get', key), math.min(rest, window)
end
function charge.fixed(key, limit, window, price)
  if runs[key] then return redis.call('incrby', key, price) end
  redis.call('set', key, price)
  expire(key, now + window)
end
`;

const BUCKET = `
local owed = {}
function weigh.bucket(key, limit, window, price, burst)
  local kept = redis.call('hmget', key, 'debt', 'rate', 'at')
  local debt = kept[1] and kept[1] * limit / kept[2] - math.max(now - kept[3], 0) * limit or 0
  debt = math.max(debt, 0)
  owed[key] = debt
  local left = burst - math.ceil(debt / window)
  local want = wanted(left, price)
  return left, (debt + (want == 0 and price or want - burst) * window) / limit
end
function charge.bucket(key, limit, window, price)
  local debt = owed[key] + price * window
  if debt - owed[key] < price * window then debt = debt * (1 + 2 ^ -52) end
  redis.call('hset', key, 'debt', debt, 'rate', limit, 'at', now)
  expire(key, now + math.min(debt / limit, 2 ^ 53))
end
`;

/** Holders by the end of their lease, which stands where others have their window. */
const PLACES = `
function weigh.places(key, limit, lease)
  local left = limit - redis.call('zcount', key, now + 1, '+inf')
  return left, left < 1 and 1000000 or 0
end
function charge.places(key, limit, lease)
  redis.call('zadd', key, now + lease, id)
  redis.call('zremrangebyscore', key, '-inf', now)
  expire(key, now + lease)
end
`;

export const CHARGE = `${NOW}
if now > ARGV[1] * 1000 then return {} end
local weigh, charge, known, id = {}, {}, {}, nil
local function broken(fault)
  local text = type(fault) == 'table' and fault.err or tostring(fault)
  return string.find(text, 'WRONGTYPE', 1, true) or string.find(text, 'attempt to', 1, true)
end
local function wanted(left, price) return left < price and price or left == price and price + 1 or 0 end
${LOG}${WIDE}${FIXED}${BUCKET}${PLACES}
local function termsOf(text)
  if not known[text] then
    local meter, limit, window, burst = string.match(text, '(%a+) (%d+) (%d+) (%d+)')
    known[text] = {meter, tonumber(limit), tonumber(window), tonumber(burst)}
  end
  return unpack(known[text])
end
local said, key, arg = {}, 0, 2
while arg < #ARGV do
  local cost, count, full, weighed = tonumber(ARGV[arg + 1]), tonumber(ARGV[arg + 2]), false, {}
  id = ARGV[arg]
  for at = 1, count do
    local meter, limit, window, burst = termsOf(ARGV[arg + 2 + at])
    local price = meter == 'places' and 1 or cost
    local ok, left, rest = pcall(weigh[meter], KEYS[key + at], limit, window, price, burst)
    if not ok then
      if not broken(left) then return error(left) end
      redis.call('del', KEYS[key + at])
      left, rest = weigh[meter](KEYS[key + at], limit, window, price, burst)
    end
    local over = left < price
    full = full or over
    weighed[at] = {left, rest, over, price}
  end
  for at = 1, count do
    local left, rest, over, price = unpack(weighed[at])
    if not full and id ~= '' then
      local meter, limit, window = termsOf(ARGV[arg + 2 + at])
      charge[meter](KEYS[key + at], limit, window, price)
      left = left - price
    end
    said[#said + 1] = not full and 1 or over and 0 or 2
    said[#said + 1] = left
    said[#said + 1] = math.ceil(math.min(rest, 2 ^ 53))
  end
  key, arg = key + count, arg + 3 + count
end
return said
`;

/** Says again that these places are held. ARGV: of each key the holder. */
export const RENEW = `${NOW}
for at, key in ipairs(KEYS) do
  if redis.call('type', key).ok ~= 'zset' then redis.call('del', key) end
  redis.call('zadd', key, now + ${LEASE_MS * 1000}, ARGV[at])
  expire(key, now + ${LEASE_MS * 1000})
end
`;

/**
 * A text that no other beginning has, and how long Redis has known since then who holds places, in microseconds. Forgotten with the
 * last lease, where nobody came for so long, and by a restart: what a dump brings back lacks who came after it. Only a
 * log of all writes lacks nobody; where Redis does not say what it is (INFO), what is there stands.
 */
export const BEGAN = `${NOW}
local function said(section, what)
  local info = redis.pcall('info', section)
  return type(info) == 'string' and string.match(info, what)
end
local run = not said('persistence', 'aof_enabled:1') and said('server', 'run_id:(%x+)')
local mark = redis.pcall('get', KEYS[1])
local since, of = string.match(type(mark) == 'string' and mark or '', '^(%d+) (%x*)$')
if not since or run and of ~= run then
  since = string.format('%.0f', now)
  mark = since .. ' ' .. (run or '')
  redis.call('set', KEYS[1], mark)
end
redis.call('pexpire', KEYS[1], ${LEASE_MS})
return {mark, string.format('%.0f', now - since)}
`;

const known = new WeakMap<Limit, string>();

/** One text for each limit: a command is the dearer the more it has to say. */
export function termsOf(limit: Limit): string {
  const before = known.get(limit);
  if (before !== undefined) return before;
  const meter = meterOf(limit);
  const windowMs = meter === "places" ? LEASE_MS : limit.windowMs;
  const terms = `${meter} ${limit.limit} ${windowMs * 1000} ${limit.burst}`;
  known.set(limit, terms);
  return terms;
}
