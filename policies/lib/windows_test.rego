package portcullis.lib.windows_test

import data.portcullis.lib.windows

at(time) := {"request": {"time": time}}

test_between_two_moments if {
	every time in ["2026-12-24T00:00:00Z", "2026-12-24T00:00:00.000Z", "2026-12-26T23:59:59.999Z"] {
		windows.between("2026-12-24T00:00:00Z", "2026-12-27T00:00:00Z") with input as at(time)
	}
	every time in ["2026-12-23T23:59:59.999Z", "2026-12-27T00:00:00Z", "2025-12-25T00:00:00Z"] {
		not windows.between("2026-12-24T00:00:00Z", "2026-12-27T00:00:00Z") with input as at(time)
	}
}

test_every_day if {
	every time in ["2026-01-01T09:00:00Z", "2026-01-01T16:59:59.999Z"] {
		windows.daily("09:00", "17:00") with input as at(time)
	}
	every time in ["2026-01-01T08:59:59Z", "2026-01-01T17:00:00Z"] {
		not windows.daily("09:00", "17:00") with input as at(time)
	}
}

test_over_midnight if {
	every time in ["2026-01-01T22:00:00Z", "2026-01-01T05:59:59Z"] {
		windows.daily("22:00", "06:00") with input as at(time)
	}
	every time in ["2026-01-01T21:59:59Z", "2026-01-01T06:00:00Z"] {
		not windows.daily("22:00", "06:00") with input as at(time)
	}
}

test_days_of_the_week if {
	known := {
		"2026-11-29": "sun", "2026-11-30": "mon", "2024-02-29": "thu", "2024-03-01": "fri", "2000-01-01": "sat",
		"2026-12-31": "thu", "2027-01-01": "fri", "2100-03-01": "mon", "2026-11-24": "tue", "2026-11-25": "wed",
	}
	every date, day in known {
		windows.weekday == day with input as at(concat("", [date, "T12:00:00Z"]))
	}
	windows.on({"sat", "sun"}) with input as at("2026-11-29T00:00:00Z")
	not windows.on({"sat", "sun"}) with input as at("2026-11-30T00:00:00Z")
}

test_a_time_that_is_not_utc_proves_nothing if {
	every time in ["2026-11-29T12:00:00+01:00", "2026-11-29", "", 7] {
		not windows.between("0000", "9999") with input as at(time)
		not windows.daily("00:00", "24:00") with input as at(time)
		not windows.on({"sat", "sun", "mon"}) with input as at(time)
	}
	not windows.daily("00:00", "24:00") with input as {}
}
