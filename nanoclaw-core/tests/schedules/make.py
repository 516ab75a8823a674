#!/usr/bin/env python3
"""Writes `times.tsv`: when schedules are due, by another language's calendar and time zones and a search of its own.

    python3 make.py > times.tsv          # needs nothing but Python 3.9 and the system's tzdata
    python3 make.py --against cronsim    # or croniter: which rows such a library of PyPI says otherwise

The definition, for every local minute of every day, one after the other:

* the minute is due when all fields name it; with a day of the month and a day of the week, one of both is enough;
* a local minute that comes twice is due the first time, one that never comes when the next one comes that does;
* where the hours are `*` (or `*/n`) no local times are meant: a minute that comes twice is due twice, one that never comes is not
  due.

An interval is due at its anchor and at all whole intervals after it. Zones whose clocks change are asked for times before 2026
only, which no later release of tzdata changes.
"""

import argparse
import platform
import random
from datetime import datetime, timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

UTC = timezone.utc
MINUTE = timedelta(minutes=1)
MONTHS = "JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC".split()
DAYS = "SUN MON TUE WED THU FRI SAT".split()
NICKNAMES = {
    "@hourly": "0 * * * *", "@daily": "0 0 * * *", "@weekly": "0 0 * * 0", "@monthly": "0 0 1 * *", "@yearly": "0 0 1 1 *",
}
# After so many days without one there is none: a 29 February is on a given day of the week again after 40 years at most.
NEVER = 15_000


def numbers(text, first, last, names=(), names_from=0):
    """The numbers that a field names."""
    number = lambda word: names.index(word.upper()) + names_from if word.upper() in names else int(word)
    named = set()
    for part in text.split(","):
        part, _, step = part.partition("/")
        if part == "*":
            begin, end = first, last
        else:
            begin, _, end = part.partition("-")
            begin = number(begin)
            end = number(end) if end else begin
            if names == DAYS and end == 0 and begin > 0:
                end = 7
        named.update(range(begin, end + 1, int(step or 1)))
    return named


def last_of_month(day):
    return (day + timedelta(days=1)).day == 1


def of_month(part, day):
    return last_of_month(day) if part == "L" else day.day in numbers(part, 1, 31)


def of_week(part, day):
    weekday = day.isoweekday() % 7
    if "#" in part:
        part, nth = part.split("#")
        in_its_place = (day.day - 1) // 7 + 1 == int(nth)
    elif part.endswith("L"):
        part, in_its_place = part[:-1], (day + timedelta(days=7)).month != day.month
    else:
        in_its_place = True
    return in_its_place and weekday in {number % 7 for number in numbers(part, 0, 6, DAYS)}


class Cron:
    def __init__(self, text):
        minute, hour, self.day, month, self.weekday = NICKNAMES.get(text, text).split()
        self.minutes, self.hours = numbers(minute, 0, 59), numbers(hour, 0, 23)
        self.months = numbers(month, 1, 12, MONTHS, 1)
        self.every_hour = hour.startswith("*")

    def has_day(self, day):
        if day.month not in self.months:
            return False
        by_month = any(of_month(part, day) for part in self.day.split(","))
        by_week = any(of_week(part, day) for part in self.weekday.split(","))
        if self.day == "*" or self.weekday == "*":
            return by_month and by_week
        return by_month or by_week

    def has_minute(self, local):
        return local.minute in self.minutes and local.hour in self.hours


def moments(local, zone):
    """When a local time is, in UTC: never, once or twice, in order."""
    both = {local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)}
    return sorted(at for at in both if at.astimezone(zone).replace(tzinfo=None, fold=0) == local)


def cron_times(text, zone, after, count):
    cron, found = Cron(text), set()
    # A day earlier, for what a change of the clock puts off.
    day = after.astimezone(zone).date() - timedelta(days=2)
    more, without = None, 0
    while without < NEVER:
        without += 1
        if cron.has_day(day):
            without = 0
            local = datetime(day.year, day.month, day.day)
            while local.date() == day:
                if cron.has_minute(local):
                    at = moments(local, zone)
                    if not cron.every_hour:
                        there = local
                        while not at:
                            there += MINUTE
                            at = moments(there, zone)
                        at = at[:1]
                    found.update(moment for moment in at if moment > after)
                local += MINUTE
        # Local days overlap by hours at most: two more, and nothing comes in between any more.
        if len(found) >= count and more is None:
            more = 2
        elif more is not None:
            more -= 1
            if more == 0:
                break
        day += timedelta(days=1)
    return sorted(found)[:count]


def interval_times(milliseconds, anchor, after, count):
    at, found = anchor, []
    while len(found) < count:
        if at > after:
            found.append(at)
        at += timedelta(milliseconds=int(milliseconds))
    return found


def once_times(value, zone, after):
    local = datetime.fromisoformat(value)
    at = moments(local, zone)
    while not at:
        local += timedelta(seconds=1)
        at = moments(local, zone)
    return [moment for moment in at[:1] if moment > after]


def changes(zone, year):
    """The moments at which the zone's clock changes in a year."""
    at, found = datetime(year, 1, 1, tzinfo=UTC), []
    while at.year == year:
        if (at + MINUTE * 30).astimezone(zone).utcoffset() != at.astimezone(zone).utcoffset():
            before = at
            while at.astimezone(zone).utcoffset() == before.astimezone(zone).utcoffset():
                at += MINUTE
            found.append(at)
        else:
            at += MINUTE * 30
    return found


# Zones and years in which the clock changes: by an hour in both halves of the earth, by half an hour, at midnight, by two hours,
# by a whole day that is left out.
CHANGING = [
    ("Europe/Berlin", 2024), ("America/New_York", 2024), ("Australia/Lord_Howe", 2024), ("America/Santiago", 2023),
    ("Antarctica/Troll", 2023), ("Pacific/Apia", 2011),
]
# What is near a change of the clock; times of night, when clocks change.
NEAR = [
    "30 2 * * *", "15 2 * * *", "0 3 * * *", "30 1 * * *", "0 0 * * *", "59 23 * * *", "0,30 0-3 * * *", "*/20 2 * * SUN",
    "5 1,2,3 * * *", "0 9 * * 1-5",
]
# What needs a calendar.
CALENDAR = [
    "0 9 29 2 *", "0 9 29 FEB MON", "0 0 L * *", "30 23 L 2 *", "0 12 L * FRI", "0 0 1,15,L * *", "59 23 31 12 *",
    "0 0 1 1 *", "0 0 31 * *", "0 6 30 2 *", "0 6 31 4,6,9,11 *", "0 12 13 * 5", "0 9 1-7 * MON", "0 9 * * 1#1",
    "0 9 * * FRI#5", "0 7 * 2 1#5", "0 9 * * 5L", "0 8 * * SUN#2,WED#4", "0 6 * * 6-7", "0 6 * * FRI-SUN", "0 6 * * 7",
    "0 6 * * sun,Tue", "5,35 8-18/3 * jan,MAR-MAY Mon-Fri", "10-50/20 6 */10 * *", "*/7 4-5 * * *", "0 */5 * * *",
    "0 0 */31 * *", "0 0 1-31/15 */3 *", "45 17 28-31 * *", "@daily", "@weekly", "@monthly", "@yearly",
]
CALENDAR_FROM = [
    ("UTC", "2023-12-31T23:58"), ("UTC", "2096-02-29T09:00"), ("Asia/Kolkata", "2099-12-30T18:29"),
    ("Asia/Kolkata", "2024-02-28T18:30"), ("Europe/Berlin", "2015-12-31T22:59"),
]
INTERVALS = [60_000, 5 * 60_000, 90 * 60_000, 86_400_000, 7 * 86_400_000, 61_001]
INTERVALS_FROM = [
    ("2024-02-28T23:59", "2024-02-29T00:00"), ("2024-12-31T12:34", "2024-12-01T00:00"),
    ("2024-01-01T00:00", "2024-03-31T00:59"),
]
ONCE_FROM = [
    ("2024-02-29T09:00:30", "2024-02-29T08:00"), ("2024-02-29T09:00:00", "2024-02-29T09:00"),
    ("2100-12-31T23:59:59", "2099-01-01T00:00"),
]


def some_cron(chance):
    """An expression that chance makes, of hours that change and of others."""
    def some(first, last, most):
        return ",".join(map(str, sorted(chance.sample(range(first, last + 1), chance.randint(1, most)))))

    a, b = sorted(chance.sample(range(24), 2))
    return " ".join([
        chance.choice([some(0, 59, 3), "*/" + str(chance.randint(7, 45)), "0"]),
        chance.choice([some(0, 23, 3), some(0, 3, 3), f"{a}-{b}/{chance.randint(1, 4)}", "*", f"*/{chance.randint(2, 9)}"]),
        chance.choice(["*", "*", some(1, 31, 3), "L", f"{chance.randint(1, 9)}-{chance.randint(10, 31)}/{chance.randint(1, 5)}"]),
        chance.choice(["*", "*", some(1, 12, 4), f"{MONTHS[chance.randint(0, 4)]}-{MONTHS[chance.randint(5, 11)]}"]),
        chance.choice(
            ["*", "*", some(0, 7, 3), f"{chance.choice(DAYS)}#{chance.randint(1, 5)}", "MON-FRI", f"{chance.randint(0, 6)}L"]
        ),
    ])


def at(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def cases():
    """Kind, value, zone, anchor and from when, in order."""
    for name, year in CHANGING:
        for change in changes(ZoneInfo(name), year):
            for text in NEAR:
                yield "cron", text, name, None, change - timedelta(hours=20)
            for text in ("*/30 * * * *", "10 */2 * * *", "@hourly"):
                yield "cron", text, name, None, change - timedelta(minutes=61)
            # From within: between what is left out and when it is made up for, and between both times.
            for text in ("30 2 * * *", "0,30 0-3 * * *", "*/30 * * * *"):
                yield "cron", text, name, None, change - MINUTE
                yield "cron", text, name, None, change + 20 * MINUTE
            for minutes in (-1, 0, 30, 59, 90):
                before = (change - MINUTE).astimezone(ZoneInfo(name)).replace(tzinfo=None) + timedelta(minutes=minutes + 1)
                yield "once", before.isoformat(), name, None, change - timedelta(days=3)
            yield "interval", str(86_400_000), name, change - timedelta(days=2, hours=5), change - timedelta(days=1)
    for text in CALENDAR:
        for name, after in CALENDAR_FROM:
            if name != "Europe/Berlin" or "29" not in text and "30 2" not in text and "2 1#5" not in text:
                yield "cron", text, name, None, at(after)
    for milliseconds in INTERVALS:
        for anchor, after in INTERVALS_FROM:
            if milliseconds > 3_600_000 or after != "2024-03-31T00:59":
                yield "interval", str(milliseconds), "Europe/Berlin", at(anchor), at(after)
    for value, after in ONCE_FROM:
        yield "once", value, "UTC", None, at(after)
    chance = random.Random(7)
    for _ in range(90):
        name, _ = chance.choice(CHANGING)
        zone, year = ZoneInfo(name), chance.randint(2015, 2022)
        begin = chance.choice(changes(zone, year) or [datetime(year, 1, 1, tzinfo=UTC)])
        begin -= timedelta(minutes=chance.randint(0, 3000))
        text = some_cron(chance)
        # Within the years that no release of tzdata changes.
        case = "cron", text, name, None, begin
        if (times := due(case)) and times[-1].year < 2026:
            yield case


COUNT = 5


def due(case):
    kind, value, name, anchor, after = case
    if kind == "cron":
        return cron_times(value, ZoneInfo(name), after, COUNT)
    if kind == "interval":
        return interval_times(value, anchor, after, COUNT)
    return once_times(value, ZoneInfo(name), after)


def shown(moment):
    if moment is None:
        return "-"
    text = moment.strftime("%Y-%m-%dT%H:%M")
    seconds = moment.strftime(":%S.%f")[:-3]
    return text + ("" if seconds == ":00.000" else seconds) + "Z"


def tzdata():
    try:
        return Path("/usr/share/zoneinfo/tzdata.zi").read_text().splitlines()[0].removeprefix("# version ")
    except OSError:
        return "of an unknown version"


def write():
    print(f"# Made by make.py with Python {platform.python_version()} and tzdata {tzdata()}; not to be changed by hand.")
    print("# kind\tvalue\tzone\tanchor\tfrom\tdue next, in order; fewer than %d: no more" % COUNT)
    for case in dict.fromkeys(cases()):
        kind, value, name, anchor, after = case
        print(kind, value, name, shown(anchor), shown(after), " ".join(shown(moment) for moment in due(case)) or "-", sep="\t")


def compare(library):
    """Says which expressions the library finds due at other times, and whether the zone's clock changes among those."""
    if library == "cronsim":
        from cronsim import CronSim as iterate
    else:
        from croniter import croniter
        iterate = lambda text, local: croniter(text, local, ret_type=datetime)
    counts = {}
    for case in dict.fromkeys(cases()):
        kind, text, name, _, after = case
        if kind != "cron":
            continue
        zone, ours, theirs = ZoneInfo(name), due(case), []
        try:
            times = iterate(NICKNAMES.get(text, text), after.astimezone(zone))
            theirs += (next(times).astimezone(UTC) for _ in range(COUNT))
        except Exception as end:  # Each has its own for what it does not take and for what never comes.
            theirs.append(f"{type(end).__name__} {end}")
        theirs = [moment for moment in theirs if not str(moment).startswith("StopIteration")]
        steady = len({moment.astimezone(zone).utcoffset() for moment in [after - timedelta(days=1), after, *ours]}) == 1
        key = f"{'no change' if steady else 'a change'} of the clock: {'the same' if theirs == ours else 'other times'}"
        counts[key] = counts.get(key, 0) + 1
        if theirs != ours:
            both = (" ".join(shown(one) if isinstance(one, datetime) else one for one in times) for times in (ours, theirs))
            print(key, text, name, shown(after), *both, sep="\n  ")
    print(counts)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", choices=["cronsim", "croniter"])
    args = parser.parse_args()
    compare(args.against) if args.against else write()
