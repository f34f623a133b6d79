"""shell: what the demo's people do, day by day: leave, trips, plan, clock times, timesheets; nobody before being hired."""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterator
from datetime import date, timedelta
from random import Random
from typing import NamedTuple

from cdc.demo import names
from cdc.demo.staff import CALENDARS, NORM_MINUTES, Book, Employee, Period, Rows, clock, guid, moment

CLOCK = [clock(minute) for minute in range(24 * 60)]
ON_DEMAND_DAYS = 4  # "urlop na żądanie" a year, within the annual leave
CHILD_CARE_DAYS = 2
SENIOR_AGE_DAYS = 31 * 365  # from about this age on, 26 days of leave; before, 20
TRAVELLERS = frozenset({"DYR", "KIE", "PRH", "SPE", "SER", "ANA", "PRG", "SPM"})
BLOCK_LENGTHS = (1, 1, 2, 2, 3, 5, 5, 10)
RATES = {"PLN": 1.0, "EUR": 4.2713, "CZK": 0.1742, "SEK": 0.3791}


class Days(NamedTuple):
    """An employee's working days in the period, as indexes into the period's, and those not spent at work."""

    first: int
    end: int
    away: set[int]
    travelling: set[int]


def projects(rng: Random, people: list[Employee], period: Period) -> Rows:
    """Make a dozen projects; some over, one open-ended."""
    leaders = [p.employee_id for p in people if p.head and not p.dismissed]
    rows: Rows = []
    for n, name in enumerate(names.PROJECTS, 1):
        starts = period.first + timedelta(days=rng.randint(-300, 60))
        ends = None if n % 3 else period.last + timedelta(days=rng.randint(1, 200))
        settings = f'{{"stawka": {rng.randint(80, 240)}, "etykiety": ["{name.split()[0].lower()}", "łódź"]}}'
        budget = f"{rng.randint(20, 900)}000.{rng.randint(0, 9999):04}"
        row = (f"P{starts.year % 100}-{n:03}", name, rng.choice(names.CLIENTS), starts.isoformat())
        rows.append((*row, ends.isoformat() if ends else None, budget, rng.choice(leaders), settings if n % 2 else None, 1))
    return rows


def civil_contracts(rng: Random, period: Period) -> Rows:
    """Contracts of mandate and for specific work with people from outside; some are drafts."""
    rows: Rows = []
    for year in range(period.first.year, period.last.year + 1):
        for n in range(1, 41):
            woman = rng.random() < 0.5
            who = f"{rng.choice(names.WOMEN if woman else names.MEN)} {names.surname(rng.choice(names.SURNAMES), woman=woman)}"
            start = date(year, rng.randint(1, 12), 1)
            until = start + timedelta(days=rng.randint(5, 120))
            kind = rng.choice(("zlecenie", "o dzieło"))
            row = (f"UC/{year}/{n:04}", kind, who, rng.choice(names.CIVIL_SUBJECTS), start.isoformat(), until.isoformat())
            status = rng.choice(("rozliczona", "rozliczona", "zawarta", "szkic"))
            rows.append((*row, f"{rng.randint(4, 90)}00.{rng.randint(0, 99):02}", rng.choice((20, 50)), status, guid(rng)))
    return rows


def days_of(person: Employee, period: Period) -> Days:
    """Where the person's employment lies in the period."""
    first = bisect.bisect_left(period.workdays, person.hired)
    end = bisect.bisect_right(period.workdays, person.dismissed) if person.dismissed else len(period.workdays)
    return Days(first, end, set(), set())


class Records:
    """Makes rows of all daily tables, employee by employee, so that only one employee's are in memory."""

    def __init__(self, rng: Random, period: Period, project_codes: list[str]) -> None:
        self._rng = rng
        self._period = period
        self._iso = [day.isoformat() for day in period.workdays]
        self._projects = project_codes
        self._numbers = dict.fromkeys(("absences", "business_trips", "work_time", "timesheets"), 0)

    def of(self, person: Employee) -> Book:
        """All rows of one employee, consistent with each other."""
        days = days_of(person, self._period)
        book: Book = {"leave_limits": [], "absences": [], "business_trips": [], "business_trip_lines": []}
        for year, first, end in self._years(days):
            self._leave(person, year, first, end, days, book)
            if person.position in TRAVELLERS:
                self._trips(person, first, end, days, book)
        book["work_plan"] = self._plan(person, days)
        book["work_time"], worked = self._work_time(person, days)
        book["timesheets"] = self._timesheets(person, worked) if person.calendar == "STD" else []
        return book

    def _years(self, days: Days) -> Iterator[tuple[int, int, int]]:
        """Year, first and end index of the employee's working days in it."""
        for year in range(self._period.first.year, self._period.last.year + 1):
            first = max(days.first, bisect.bisect_left(self._period.workdays, date(year, 1, 1)))
            end = min(days.end, bisect.bisect_left(self._period.workdays, date(year + 1, 1, 1)))
            if first < end:
                yield year, first, end

    def _next(self, table: str) -> int:
        self._numbers[table] += 1
        return self._numbers[table]

    # -- leave ---------------------------------------------------------------------------------------------------------

    def _leave(self, person: Employee, year: int, first: int, end: int, days: Days, book: Book) -> None:
        rng = self._rng
        full = 26 if self._period.workdays[first] - person.birth > timedelta(days=SENIOR_AGE_DAYS) else 20
        share = (end - first) / 250
        granted = min(full, math.ceil(full * share))
        left = before = self._carried(year, book)
        wish = max(0, min(granted + left, rng.randint(granted * 6 // 10, granted + left)))
        used = dict.fromkeys(("UW", "UŻ", "ZL", "OP", "OK"), 0)
        for _ in range(40):
            if (spent := used["UW"]) >= wish:
                break
            length = min(rng.choice(BLOCK_LENGTHS), wish - spent)
            kind = "UŻ" if length == 1 and used["UŻ"] < ON_DEMAND_DAYS and rng.random() < 0.3 else "UW"
            taken = self._absence(person, kind, length, (first, end), days, book)
            used[kind] += taken
            used["UW"] += taken if kind == "UŻ" else 0
        for _ in range(rng.choice((0, 0, 1, 1, 2))):
            self._absence(person, "ZL", rng.randint(2, 9), (first, end), days, book)
        if rng.random() < 0.3:
            used["OP"] += self._absence(person, "OP", rng.randint(1, CHILD_CARE_DAYS), (first, end), days, book)
        if rng.random() < 0.08:
            self._absence(person, "OK", rng.randint(1, 2), (first, end), days, book)
        book["leave_limits"] += [
            (person.employee_id, year, "UW", granted, before, used["UW"]),
            (person.employee_id, year, "UŻ", ON_DEMAND_DAYS, 0, used["UŻ"]),
            (person.employee_id, year, "OP", CHILD_CARE_DAYS, 0, used["OP"]),
        ]

    @staticmethod
    def _carried(year: int, book: Book) -> int:
        for _, of_year, kind, granted, carried, used in book["leave_limits"]:
            if of_year == year - 1 and kind == "UW":
                return int(granted or 0) + int(carried or 0) - int(used or 0)
        return 0

    def _absence(self, person: Employee, kind: str, length: int, span: tuple[int, int], days: Days, book: Book) -> int:
        """Write one absence where the employee is free; returns its working days, 0 if there was no place."""
        rng, (first, end) = self._rng, span
        start = rng.randrange(first, end)
        stop = min(start + length, end)
        if any(n in days.away for n in range(start, stop)):
            return 0
        days.away.update(range(start, stop))
        begin, until = self._period.workdays[start], self._period.workdays[stop - 1]
        asked = begin - timedelta(days=0 if kind in {"ZL", "UŻ"} else rng.randint(1, 30))
        number = self._next("absences")
        note = (
            "L4 elektroniczne"
            if kind == "ZL"
            else rng.choice((None, None, None, "wyjazd rodzinny", "załatwienie spraw urzędowych"))
        )
        period = (begin.isoformat(), until.isoformat(), stop - start)
        document = f"N/{begin.year}/{number:06}"
        book["absences"].append((number, document, person.employee_id, kind, *period, "zatwierdzony", moment(rng, asked), note))
        return stop - start

    # -- trips ---------------------------------------------------------------------------------------------------------

    def _trips(self, person: Employee, first: int, end: int, days: Days, book: Book) -> None:
        rng = self._rng
        for _ in range(rng.randint(0, 5)):
            start = rng.randrange(first, end)
            stop = min(start + rng.randint(1, 4), end)
            if any(n in days.away or n in days.travelling for n in range(start, stop)):
                continue
            days.travelling.update(range(start, stop))
            country, city, currency = rng.choice(names.TRIPS)
            number = self._next("business_trips")
            departs, returns = (
                f"{self._iso[start]} 0{rng.randint(5, 8)}:30:00",
                f"{self._iso[stop - 1]} {rng.randint(16, 21)}:15:00",
            )
            document = f"DEL/{self._iso[start][:4]}/{number:05}"
            advance = f"{rng.randint(0, 15)}00.00"
            where = (country, city, rng.choice(names.TRIP_PURPOSES), departs, returns)
            book["business_trips"].append((number, document, person.employee_id, *where, advance, currency, "rozliczona"))
            book["business_trip_lines"] += trip_lines(rng, number, self._iso[start:stop], currency)

    # -- days ----------------------------------------------------------------------------------------------------------

    def _plan(self, person: Employee, days: Days) -> Rows:
        start = CALENDARS[person.calendar][1]
        minutes = int(NORM_MINUTES * person.fraction)
        cells = (CLOCK[start], CLOCK[start + minutes], minutes)
        zones = ("PRACA", "ZDALNA") if person.calendar == "STD" and person.position not in {"SER", "KON", "SPD"} else ("PRACA",)
        remote_days = self._rng.sample(range(5), 2) if len(zones) > 1 else []
        by_weekday = ["ZDALNA" if weekday in remote_days else "PRACA" for weekday in range(5)]
        who, workdays = person.employee_id, self._period.workdays
        return [(who, self._iso[n], *cells, by_weekday[workdays[n].weekday()]) for n in range(days.first, days.end)]

    def _work_time(self, person: Employee, days: Days) -> tuple[Rows, list[tuple[str, int]]]:
        """Clock times of each day at work, and (day, minutes) of it."""
        start = CALENDARS[person.calendar][1]
        norm = int(NORM_MINUTES * person.fraction)
        random, who, entry = self._rng.random, person.employee_id, self._numbers["work_time"]
        remote = person.calendar == "STD"
        rows: Rows = []
        worked: list[tuple[str, int]] = []
        for n in range(days.first, days.end):
            if n in days.away:
                continue
            dice = random()
            day = self._iso[n]
            came = start - 12 + int(random() * 20)
            went = came + norm + int(dice * 977) % 25 - 4
            zone = "DELEG" if n in days.travelling else "ZDALNA" if remote and dice < 0.3 else "PRACA"
            if dice > 0.985:  # a private errand in the middle of the day
                out = came + norm // 2
                back = out + 35
                entry += 1
                rows.append((entry, who, day, CLOCK[came], CLOCK[out], out - came, zone, f"{day} {CLOCK[out]}.000"))
                entry += 1
                rows.append((entry, who, day, CLOCK[back], CLOCK[went], went - back, zone, f"{day} {CLOCK[went]}.000"))
            else:
                entry += 1
                rows.append(
                    (entry, who, day, CLOCK[came], CLOCK[went], went - came, zone, f"{day} {CLOCK[went]}.{int(dice * 999):03}")
                )
            worked.append((day, went - came))
        self._numbers["work_time"] = entry
        return rows, worked

    def _timesheets(self, person: Employee, worked: list[tuple[str, int]]) -> Rows:
        """Quarters of an hour on one or two projects a day; the last days are not approved yet."""
        rng, random, who, sheet = self._rng, self._rng.random, person.employee_id, self._numbers["timesheets"]
        mine = rng.sample(self._projects, 3)
        waiting = self._iso[-10]
        rows: Rows = []
        for day, minutes in worked:
            dice = random()
            quarters = minutes // 15
            main = quarters - int(dice * 9) if dice > 0.6 else quarters
            approved = 1 if day < waiting else 0
            sheet += 1
            rows.append((sheet, who, mine[int(dice * 3)], day, main / 4, names.TASKS[int(dice * 997) % 12], approved))
            if main < quarters:
                sheet += 1
                rest = (quarters - main) / 4
                rows.append((sheet, who, mine[int(dice * 3) - 1], day, rest, names.TASKS[int(dice * 499) % 12], approved))
        self._numbers["timesheets"] = sheet
        return rows


def trip_lines(rng: Random, trip: int, days: list[str], currency: str) -> Rows:
    """Write an allowance a day, nights, and the way there and back, in the trip's currency and in PLN."""
    rate = RATES[currency]
    kinds = [
        ("przejazd", days[0]),
        *(("dieta", day) for day in days),
        *(("nocleg", day) for day in days[:-1]),
        ("przejazd", days[-1]),
    ]
    rows: Rows = []
    for n, (kind, day) in enumerate(kinds, 1):
        amount = 45_00 if kind == "dieta" else rng.randint(60_00, 480_00)
        pln = round(amount * rate * 100)
        money = (f"{amount // 100}.{amount % 100:02}", currency, rate, f"{pln // 10_000}.{pln % 10_000:04}")
        rows.append((trip, n, kind, day, *money))
    return rows
