# METADATA
# title: When it is asked
# description: >-
#   Windows of time, by the time of the question, `input.request.time`, which is UTC: never by a clock, so that a
#   question that is asked again is decided again in the same way.
package portcullis.lib.windows

# METADATA
# title: From one moment until before another
# description: Both as RFC 3339 in UTC, as in `2026-12-24T00:00:00Z`.
between(from, until) if {
	from <= moment
	moment < until
}

# METADATA
# title: Every day from one time until before another
# description: Both as `HH:MM` in UTC. From a later to an earlier time it goes over midnight.
# scope: document
daily(from, until) if {
	from <= until
	from <= clock
	clock < until
}

daily(from, until) if {
	from > until
	from <= clock
}

daily(from, until) if {
	from > until
	clock < until
}

# METADATA
# title: On these days of the week
# description: As in `{"mon", "tue"}`, in UTC.
on(days) if weekday in days

# METADATA
# title: The moment, to the second, so that texts compare as moments do
moment := concat("", [substring(input.request.time, 0, 19), "Z"]) if is_utc

# METADATA
# title: The time of day
clock := substring(input.request.time, 11, 5) if is_utc

# METADATA
# title: The day of the week
# description: By Zeller's congruence, for the Gregorian calendar.
weekday := days[sum([day, floor((13 * (month + 1)) / 5), year, floor(year / 4), 0 - floor(year / 100), floor(year / 400)]) % 7] if {
	days := ["sat", "sun", "mon", "tue", "wed", "thu", "fri"]
	is_utc
	[y, m, d] := split(substring(input.request.time, 0, 10), "-")
	day := to_number(d)
	[year, month] := shifted(to_number(y), to_number(m))
}

# METADATA
# title: The time is UTC, as the gateway writes it
is_utc if regex.match(`\A[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?Z\z`, input.request.time)

# METADATA
# title: Year and month for Zeller's congruence
# description: January and February are months 13 and 14 of the year before.
# scope: document
shifted(year, month) := [year, month] if month > 2

shifted(year, month) := [year - 1, month + 12] if month <= 2
