"""shell: the demo's people and organisation, made from a seed: departments, centres, positions, employees and their history.

Nobody is real: the check digit of every PESEL and tax number is wrong on purpose, mail addresses end in `.example`, and
telephone numbers are extensions.
"""

from __future__ import annotations

import struct
import uuid
import zlib
from datetime import date, timedelta
from random import Random
from typing import NamedTuple, TypeAlias

from cdc.demo import names
from cdc.demo.holidays import DAY, days_between, holidays, workdays

Cell: TypeAlias = int | float | str | bytes | None
Rows: TypeAlias = list[tuple[Cell, ...]]
Book: TypeAlias = dict[str, Rows]  # table -> rows in the order of its columns

PESEL_WEIGHTS = (1, 3, 7, 9, 1, 3, 7, 9, 1, 3)
TAX_WEIGHTS = (6, 5, 7, 2, 3, 4, 5, 6, 7)
CALENDARS: dict[str, tuple[str, int]] = {  # code -> name, minute of the day at which work starts
    "STD": ("Podstawowy, jedna zmiana", 8 * 60),
    "ZM1": ("Pierwsza zmiana", 6 * 60),
    "ZM2": ("Druga zmiana", 14 * 60),
}
NORM_MINUTES = 8 * 60
HEADED_FROM = 8  # a department of that many people has a head of its own


class Period(NamedTuple):
    """The time that the demo's records cover."""

    first: date
    last: date
    workdays: list[date]

    @staticmethod
    def ending(last: date, years: int) -> Period:
        """Whole calendar years, the last one ending at `last`."""
        first = date(last.year - years + 1, 1, 1)
        return Period(first, last, workdays(first, last))


class Department(NamedTuple):
    """One department with the people to be found in it."""

    department_id: int
    parent_id: int | None
    code: str
    name: str
    positions: tuple[str, ...]
    staff: int


class Employee(NamedTuple):
    """What the records of an employee's days depend on."""

    employee_id: int
    first_name: str
    last_name: str
    birth: date
    hired: date
    dismissed: date | None
    department: Department
    position: str
    head: bool
    calendar: str
    fraction: float
    pay: int  # whole PLN a month, the newest


def guid(rng: Random) -> str:
    """Upper case, as many an ERP writes it."""
    return str(uuid.UUID(int=rng.getrandbits(128), version=4)).upper()


def moment(rng: Random, day: date) -> str:
    """Pick a time of that day in office hours, with milliseconds."""
    return f"{day.isoformat()} {rng.randint(7, 17):02}:{rng.randint(0, 59):02}:{rng.randint(0, 59):02}.{rng.randint(0, 999):03}"


def fictional_pesel(rng: Random, birth: date, *, woman: bool) -> str:
    """Eleven digits with the birth date and the sex in their places, and a check digit that no real number has."""
    month = birth.month + (20 if birth.year >= 2000 else 0)
    serial = rng.randint(0, 999) * 10 + rng.choice((0, 2, 4, 6, 8)) + (0 if woman else 1)
    digits = f"{birth.year % 100:02}{month:02}{birth.day:02}{serial:04}"
    right = -sum(int(d) * w for d, w in zip(digits, PESEL_WEIGHTS, strict=True)) % 10
    return f"{digits}{(right + rng.randint(1, 9)) % 10}"


def fictional_tax_id(rng: Random) -> str:
    """Ten digits, the last of which is wrong."""
    digits = "".join(str(rng.randint(1, 9)) for _ in TAX_WEIGHTS)
    right = sum(int(d) * w for d, w in zip(digits, TAX_WEIGHTS, strict=True)) % 11
    return f"{digits}{(right + 1) % 10}"


def picture(rng: Random, size: int = 40) -> bytes:
    """Draw a small PNG: a symmetric pattern, one colour on another."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    half = [[rng.getrandbits(1) for _ in range(4)] for _ in range(8)]
    rows = bytearray()
    for y in range(size):
        cells = half[y * 8 // size]
        rows.append(0)
        rows.extend((cells + cells[::-1])[x * 8 // size] for x in range(size))
    header = struct.pack(">IIBBBBB", size, size, 8, 3, 0, 0, 0)
    body = chunk(b"PLTE", rng.randbytes(6)) + chunk(b"IDAT", zlib.compress(bytes(rows)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b"")


def departments(employees: int) -> list[Department]:
    """Make the tree of departments; their people add up to `employees` (at least one each)."""
    total = sum(share for *_, share in names.DEPARTMENTS)
    ids = {code: n for n, (code, *_) in enumerate(names.DEPARTMENTS, 1)}
    counts = {code: max(1, employees * share // total) for code, *_, share in names.DEPARTMENTS}
    counts["PR-MO"] = max(1, counts["PR-MO"] + employees - sum(counts.values()))
    return [
        Department(ids[code], ids[parent] if parent else None, code, name, tuple(positions.split()), counts[code])
        for code, parent, name, positions, _ in names.DEPARTMENTS
    ]


def organisation(rng: Random, tree: list[Department], period: Period) -> Book:
    """Company, zones, calendars, departments and positions."""
    city, post, voivodeship = names.CITIES[1]
    company = (
        1,
        names.COMPANY,
        names.COMPANY_SHORT,
        fictional_tax_id(rng),
        1,
        "ul. Źródlana 17",
        f"{post}001",
        city,
        voivodeship,
    )
    stamp = f"{period.first.isoformat()} 07:00:00.000"
    return {
        "company_info": [
            (*company, "1994-09-01", "1250000.5000", f"https://www.{names.MAIL_DOMAIN}", picture(rng, 64), guid(rng), stamp)
        ],
        "zones": [(code, name, paid, remote, float(factor)) for code, name, paid, remote, factor in names.ZONES],
        "calendars": [
            (code, name, clock(start), clock(start + NORM_MINUTES), NORM_MINUTES) for code, (name, start) in CALENDARS.items()
        ],
        "calendar_days": calendar_days(period),
        "departments": [
            (d.department_id, d.parent_id, d.code, d.name, f"MPK{d.department_id:03}", 1, moment(rng, period.first))
            for d in tree
        ],
        "positions": [
            (n, code, name, grade, f"{low}.00", f"{high}.00")
            for n, (code, name, grade, low, high) in enumerate(names.POSITIONS, 1)
        ],
    }


def clock(minute: int) -> str:
    """Write a minute of the day as `HH:MM:SS`."""
    return f"{minute // 60 % 24:02}:{minute % 60:02}:00"


def calendar_days(period: Period) -> Rows:
    """Every day of every calendar: P working, S Saturday, N Sunday, W holiday."""
    named = {day: name for year in range(period.first.year, period.last.year + 1) for day, name in holidays(year).items()}
    rows: Rows = []
    for code in CALENDARS:
        for day in days_between(period.first, period.last):
            kind = "W" if day in named else "PPPPPSN"[day.weekday()]
            rows.append((code, day.isoformat(), kind, NORM_MINUTES if kind == "P" else 0, named.get(day)))
    return rows


def employ(rng: Random, tree: list[Department], period: Period) -> list[Employee]:
    """Everybody who ever worked there in the period, by department."""
    people: list[Employee] = []
    for department in tree:
        for n in range(department.staff):
            people.append(_employee(rng, department, len(people) + 1, period, first=n == 0))
    return people


def _employee(rng: Random, department: Department, number: int, period: Period, *, first: bool) -> Employee:
    woman = rng.random() < 0.47
    first_name = rng.choice(names.WOMEN if woman else names.MEN)
    last_name = names.surname(rng.choice(names.SURNAMES), woman=woman)
    if woman and rng.random() < 0.04:
        last_name = f"{last_name}-{names.surname(rng.choice(names.SURNAMES), woman=True)}"
    head = first and (department.staff >= HEADED_FROM or len(department.positions) == 1)
    position = rng.choice(department.positions)
    if head and position not in {"DYR", "KIE"}:
        position = "KIW"
    hired, dismissed = _employment(rng, period, stays=first)
    low, high = next((p[3], p[4]) for p in names.POSITIONS if p[0] == position)
    return Employee(
        employee_id=number,
        first_name=first_name,
        last_name=last_name,
        birth=hired - timedelta(days=rng.randint(19 * 366, 52 * 365)),
        hired=hired,
        dismissed=dismissed,
        department=department,
        position=position,
        head=head,
        calendar=rng.choice(("ZM1", "ZM1", "ZM2")) if position in names.SHIFT_WORKERS else "STD",
        fraction=1.0 if first else rng.choice((1.0,) * 17 + (0.5, 0.75, 0.8)),
        pay=rng.randrange(low, high, 50),
    )


def _employment(rng: Random, period: Period, *, stays: bool) -> tuple[date, date | None]:
    before = date(period.first.year - 1, 12, 1)
    if stays or rng.random() < 0.8:
        hired = before - timedelta(days=rng.randint(0, 18 * 365))
    else:
        hired = rng.choice(period.workdays[: len(period.workdays) * 9 // 10])
    hired = workdays(hired.replace(day=1), hired.replace(day=20))[0]
    if stays or rng.random() > 0.12:
        return hired, None
    earliest = max(hired + timedelta(days=70), period.first + timedelta(days=40))
    left = period.last - earliest
    return hired, earliest + timedelta(days=rng.randint(0, left.days)) if left.days > 0 else None


def employee_rows(rng: Random, people: list[Employee], period: Period) -> Book:
    """Make the tables with one or a few rows a person."""
    book: Book = {"employees": [], "employee_photos": [], "employee_history": [], "mail_accounts": [], "qualifications": []}
    positions = {code: n for n, (code, *_) in enumerate(names.POSITIONS, 1)}
    addresses: set[str] = set()
    for person in people:
        book["employees"].append(_personal(rng, person, positions))
        if rng.random() < 0.15:
            taken = person.hired + timedelta(days=rng.randint(0, 20))
            book["employee_photos"].append((person.employee_id, picture(rng), "image/png", taken.isoformat()))
        book["employee_history"].extend(_history(rng, person, period.last, positions))
        book["mail_accounts"].append(_mail(rng, person, addresses))
        book["qualifications"].extend(_qualifications(rng, person, len(book["qualifications"])))
    for n, box in enumerate(("Biuro", "Kadry", "Reklamacje", "Praca", "Księgowość", "RODO"), 1):
        address = f"{names.plain(box).lower()}@{names.MAIL_DOMAIN}"
        book["mail_accounts"].append((address, None, "wspólna", 2048 * n, 1, "2019-03-01 08:00:00.000"))
    return book


def _personal(rng: Random, person: Employee, positions: dict[str, int]) -> tuple[Cell, ...]:
    woman = person.first_name in names.WOMEN
    city, post, _ = rng.choice(names.CITIES)
    return (
        person.employee_id,
        f"PR/{person.employee_id:04}",
        person.first_name,
        rng.choice(names.WOMEN if woman else names.MEN) if rng.random() < 0.4 else None,
        person.last_name,
        names.surname(rng.choice(names.SURNAMES), woman=True) if woman and rng.random() < 0.5 else None,
        "K" if woman else "M",
        person.birth.isoformat(),
        fictional_pesel(rng, person.birth, woman=woman),
        1,
        person.hired.isoformat(),
        person.dismissed.isoformat() if person.dismissed else None,
        person.department.department_id,
        positions[person.position],
        person.calendar,
        person.fraction,
        f"ul. {rng.choice(names.STREETS)} {rng.randint(1, 99)}{rng.choice(('', '', 'a', '/4', f' m. {rng.randint(1, 60)}'))}",
        f"{post}{rng.randint(1, 999):03}",
        city,
        f"wew. {rng.randint(100, 899)}" if rng.random() < 0.8 else None,
        f"PL00 FIKC {rng.randint(0, 9999):04} {rng.randint(0, 9999):04}",
        guid(rng),
        moment(rng, person.hired),
    )


def _history(rng: Random, person: Employee, until: date, positions: dict[str, int]) -> Rows:
    """Contract, raises and moves; each begins the day after the one before ends."""
    end = person.dismissed or date.max
    raises = [date(year, 1, 1) for year in range(person.hired.year + 1, until.year + 1) if rng.random() < 0.55][-6:]
    starts = [person.hired, *(day for day in raises if person.hired < day < min(end, until))]
    rows: Rows = []
    for n, start in enumerate(starts):
        last = n == len(starts) - 1
        ends = person.dismissed if last else starts[n + 1] - DAY
        pay = person.pay * 100 * (100 - 4 * (len(starts) - 1 - n)) // 100
        kind = "na okres próbny" if n == 0 and len(starts) > 1 else "na czas nieokreślony"
        reason = "Zatrudnienie" if n == 0 else rng.choice(("Podwyżka roczna", "Awans", "Zmiana warunków", "Aneks do umowy"))
        rows.append(
            (
                person.employee_id,
                start.isoformat(),
                ends.isoformat() if ends else None,
                person.department.department_id,
                positions[person.position],
                person.fraction,
                f"{pay // 100}.{pay % 100:02}",
                kind,
                reason,
            )
        )
    return rows


def _mail(rng: Random, person: Employee, addresses: set[str]) -> tuple[Cell, ...]:
    first, last = names.plain(person.first_name), names.plain(person.last_name)
    address = f"{first}.{last}@{names.MAIL_DOMAIN}"
    if address.lower() in addresses:
        address = f"{first}.{last}{person.employee_id}@{names.MAIL_DOMAIN}"
    addresses.add(address.lower())
    active = 0 if person.dismissed else 1
    return (address, person.employee_id, "osobista", rng.choice((512, 1024, 2048)), active, moment(rng, person.hired))


def _qualifications(rng: Random, person: Employee, already: int) -> Rows:
    chosen = [names.QUALIFICATIONS[0], names.QUALIFICATIONS[1], *rng.sample(names.QUALIFICATIONS[2:], rng.randint(0, 3))]
    rows: Rows = []
    for n, (kind, name, years) in enumerate(chosen, 1):
        issued = person.hired + timedelta(days=rng.randint(0, 25))
        until = (issued + timedelta(days=365 * years)).isoformat() if years else None
        score = round(rng.uniform(50, 100), 3) if kind in {"JĘZ", "KURS"} else None
        number = f"{kind}/{issued.year}/{rng.randint(1, 9999):04}"
        rows.append((already + n, person.employee_id, kind, name, number, issued.isoformat(), until, score))
    return rows


def structures(rng: Random, tree: list[Department], people: list[Employee], period: Period) -> Book:
    """Make the subordination structures: one follows the departments, one the projects."""
    since = period.first.isoformat()
    heads: dict[int, int] = {}
    for person in people:
        heads.setdefault(person.department.department_id, person.employee_id)
    centres: Rows = [
        ("GŁÓWNA", d.department_id, d.parent_id, f"Centrum: {d.name}", d.department_id, heads[d.department_id]) for d in tree
    ]
    teams = ("Biuro Projektów", "Zespół Wdrożeń", "Zespół Badań", "Zespół Serwisu")
    centres += [
        ("PROJEKT", n, 1 if n > 1 else None, name, None, rng.choice(people).employee_id) for n, name in enumerate(teams, 1)
    ]
    members: Rows = [
        ("GŁÓWNA", p.employee_id, p.department.department_id, max(p.hired, period.first).isoformat()) for p in people
    ]
    members += [("PROJEKT", p.employee_id, rng.randint(1, len(teams)), since) for p in people[::3] if p.hired < period.first]
    return {
        "structures": [
            ("GŁÓWNA", "Struktura służbowa", "2015-01-01", None),
            ("PROJEKT", "Struktura projektowa", since, None),
            ("STARA", "Struktura do reorganizacji", "2004-05-01", "2014-12-31"),
        ],
        "structure_centres": centres,
        "subordination": members,
    }
