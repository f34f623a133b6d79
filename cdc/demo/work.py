"""adapter: people at work in the demo's ERP: each step commits one believable transaction and says what it did."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from random import Random
from typing import Any, NamedTuple, Self

from cdc.demo import names
from cdc.demo.deeds import Deed
from cdc.demo.holidays import workdays
from cdc.demo.people_at_work import trip_lines
from cdc.demo.staff import CALENDARS, NORM_MINUTES, clock, fictional_pesel, guid, moment, picture

PATIENCE = 20.0  # seconds to wait for another writer
DEEDS_A_DAY = 60
LEAVE_LENGTHS = (1, 1, 2, 3, 5)


class Person(NamedTuple):
    """Somebody employed now."""

    employee_id: int
    name: str
    department_id: int
    position_id: int
    calendar: str


class Worker:
    """Everybody in the company, one thing at a time. The same seed on the same file does the same. Use it in one thread."""

    def __init__(self, path: Path, seed: int) -> None:
        self._rng = Random(f"work {seed}")  # noqa: S311 (no secret; other numbers than the company was made of)
        self._database = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)
        self._database.execute("PRAGMA foreign_keys = ON")
        last = date.fromisoformat(self._one("SELECT max(day) FROM work_plan"))
        self._days = iter(workdays(last + timedelta(days=1), last + timedelta(days=3650)))
        self._today = next(self._days)
        self._steps = 0
        self._doings: tuple[tuple[int, Callable[[], Deed | None]], ...] = (
            (16, self._clock_in),
            (12, self._clock_out),
            (8, self._ask_for_leave),
            (5, self._decide_leave),
            (4, self._withdraw_leave),
            (3, self._correct_leave),
            (6, self._travel),
            (3, self._cancel_trip),
            (3, self._move),
            (4, self._raise),
            (10, self._write_timesheet),
            (6, self._correct_timesheet),
            (3, self._delete_timesheet),
            (4, self._swap_shift),
            (2, self._plan_month),
            (3, self._rename_mail),
            (2, self._hire),
            (2, self._photograph),
            (4, self._sign_contract),
            (1, self._renumber_project),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Idempotent."""
        self._database.close()

    def step(self) -> Deed:
        """Commit one transaction. Raises sqlite3.OperationalError when the database stays locked."""
        self._steps += 1
        if self._steps % DEEDS_A_DAY == 0:
            self._today = next(self._days)
        while True:
            doing = self._rng.choices([d for _, d in self._doings], [w for w, _ in self._doings])[0]
            if deed := self._commit(doing):
                return deed

    def _commit(self, doing: Callable[[], Deed | None]) -> Deed | None:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            deed = doing()
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT" if deed else "ROLLBACK")
        return deed

    # -- asking the database ---------------------------------------------------------------------------------------------

    def _do(self, sql: str, *values: Any) -> None:
        self._database.execute(sql, values)

    def _row(self, sql: str, *values: Any) -> tuple[Any, ...] | None:
        row: tuple[Any, ...] | None = self._database.execute(sql, values).fetchone()
        return row

    def _one(self, sql: str, *values: Any) -> Any:
        row = self._row(sql, *values)
        return row[0] if row else None

    def _any(self, sql: str, *values: Any) -> tuple[Any, ...] | None:
        """One of the rows found."""
        rows = self._database.execute(sql, values).fetchall()
        return self._rng.choice(rows) if rows else None

    def _person(self) -> Person:
        employed = (
            "SELECT employee_id, first_name || ' ' || last_name, department_id, position_id, calendar_code FROM employees"
        )
        found = self._any(f"{employed} WHERE dismissed_on IS NULL")
        if found is None:
            raise LookupError("nobody works here")
        return Person(*found)

    def _now(self) -> str:
        return moment(self._rng, self._today)

    # -- time ------------------------------------------------------------------------------------------------------------

    def _clock_in(self) -> Deed | None:
        person, day = self._person(), self._today.isoformat()
        if self._row("SELECT 1 FROM work_time WHERE employee_id = ? AND day = ?", person.employee_id, day):
            return None
        came = clock(CALENDARS[person.calendar][1] + self._rng.randint(-12, 8))
        entry = self._one("SELECT max(entry_id) + 1 FROM work_time")
        cells = (entry, person.employee_id, day, came, None, None, "PRACA", f"{day} {came}.000")
        self._do("INSERT INTO work_time VALUES (?, ?, ?, ?, ?, ?, ?, ?)", *cells)
        return Deed(f"{person.name}: wejście o {came[:5]}", f"{person.name} clocks in", "work_time", (entry,))

    def _clock_out(self) -> Deed | None:
        found = self._any("SELECT entry_id, employee_id, day, started FROM work_time WHERE ended IS NULL")
        if not found:
            return None
        entry, who, day, started = found
        begun = int(started[:2]) * 60 + int(started[3:5])
        left = begun + NORM_MINUTES + self._rng.randint(0, 40)
        cells = (clock(left), left - begun, f"{day} {clock(left)}.000", entry)
        self._do("UPDATE work_time SET ended = ?, minutes = ?, recorded_at = ? WHERE entry_id = ?", *cells)
        name = self._name(who)
        return Deed(f"{name}: wyjście o {clock(left)[:5]}", f"{name} clocks out", "work_time", (entry,))

    def _name(self, employee: int) -> str:
        return str(self._one("SELECT first_name || ' ' || last_name FROM employees WHERE employee_id = ?", employee))

    def _write_timesheet(self) -> Deed | None:
        person = self._person()
        project = self._any("SELECT project_code, name FROM projects WHERE active = 1")
        if not project:
            return None
        sheet, hours = self._one("SELECT max(timesheet_id) + 1 FROM timesheets"), self._rng.randint(2, 32) / 4
        cells = (sheet, person.employee_id, project[0], self._today.isoformat(), hours, self._rng.choice(names.TASKS), 0)
        self._do("INSERT INTO timesheets VALUES (?, ?, ?, ?, ?, ?, ?)", *cells)
        return Deed(
            f"{person.name}: {hours} h na projekt {project[1]}", f"{person.name} books {hours} h", "timesheets", (sheet,)
        )

    def _timesheet(self) -> tuple[Any, ...] | None:
        """Any of the newest few thousand."""
        newest = self._one("SELECT max(timesheet_id) FROM timesheets")
        at = self._rng.randint(max(1, newest - 5_000), newest)
        return self._row("SELECT timesheet_id, employee_id FROM timesheets WHERE timesheet_id >= ?", at)

    def _correct_timesheet(self) -> Deed | None:
        if not (found := self._timesheet()):
            return None
        hours = self._rng.randint(1, 32) / 4
        self._do("UPDATE timesheets SET hours = ?, approved = 1 - approved WHERE timesheet_id = ?", hours, found[0])
        name = self._name(found[1])
        return Deed(f"{name}: korekta karty pracy na {hours} h", f"{name}'s timesheet corrected", "timesheets", (found[0],))

    def _delete_timesheet(self) -> Deed | None:
        if not (found := self._timesheet()):
            return None
        self._do("DELETE FROM timesheets WHERE timesheet_id = ?", found[0])
        name = self._name(found[1])
        return Deed(f"{name}: usunięty wpis karty pracy", f"{name}'s timesheet deleted", "timesheets", (found[0],), True)

    def _swap_shift(self) -> Deed | None:
        """INSERT OR REPLACE: the plan of that day is there already, or not."""
        person = self._person()
        day = (self._today + timedelta(days=self._rng.randint(-5, 20))).isoformat()
        start = self._rng.choice((6, 8, 14)) * 60
        cells = (person.employee_id, day, clock(start), clock(start + NORM_MINUTES), NORM_MINUTES, "PRACA")
        self._do("INSERT OR REPLACE INTO work_plan VALUES (?, ?, ?, ?, ?, ?)", *cells)
        return Deed(f"{person.name}: zmiana planu na {day}", f"{person.name}'s shift moved", "work_plan", cells[:2])

    def _plan_month(self) -> Deed | None:
        person = self._person()
        start = CALENDARS[person.calendar][1]
        hours = (clock(start), clock(start + NORM_MINUTES), NORM_MINUTES, "PRACA")
        days = workdays(self._today, self._today + timedelta(days=30))
        rows = [(person.employee_id, day.isoformat(), *hours) for day in days]
        self._database.executemany("INSERT OR REPLACE INTO work_plan VALUES (?, ?, ?, ?, ?, ?)", rows)
        what = f"{person.name}: plan pracy na {len(rows)} dni"
        return Deed(what, f"{person.name}: {len(rows)} days planned", "work_plan", (person.employee_id, rows[-1][1]))

    # -- leave -----------------------------------------------------------------------------------------------------------

    def _ask_for_leave(self) -> Deed | None:
        """Within the limit of the year (which is opened if need be), and not over another absence."""
        person = self._person()
        start = self._today + timedelta(days=self._rng.randint(1, 60))
        days = workdays(start, start + timedelta(days=14))[: self._rng.choice(LEAVE_LENGTHS)]
        span, who = (days[0].isoformat(), days[-1].isoformat()), person.employee_id
        overlap = "SELECT 1 FROM absences WHERE employee_id = ? AND from_day <= ? AND to_day >= ?"
        if days[0].year != days[-1].year or self._row(overlap, who, span[1], span[0]):
            return None
        self._do("INSERT OR IGNORE INTO leave_limits VALUES (?, ?, 'UW', 26, 0, 0)", who, days[0].year)
        used = "UPDATE leave_limits SET used = used + ? WHERE (employee_id, year, leave_kind) = (?, ?, 'UW')"
        if not self._database.execute(
            f"{used} AND used + ? <= days + carried_over", (len(days), who, days[0].year, len(days))
        ).rowcount:
            return None
        number = self._one("SELECT max(absence_id) + 1 FROM absences")
        cells = (number, f"N/{days[0].year}/{number:06}", who, "UW", *span, len(days), "złożony", self._now(), None)
        self._do("INSERT INTO absences VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", *cells)
        what = f"{person.name}: wniosek o urlop {span[0]} do {span[1]}"
        return Deed(what, f"{person.name} asks for leave, {len(days)} day{'s' if len(days) > 1 else ''}", "absences", (number,))

    def _request(self) -> tuple[Any, ...] | None:
        return self._any("SELECT absence_id, employee_id, from_day, working_days FROM absences WHERE status = 'złożony'")

    def _give_back(self, who: int, from_day: str, days: int) -> None:
        used = "UPDATE leave_limits SET used = used - ? WHERE (employee_id, year, leave_kind) = (?, ?, 'UW')"
        self._do(used, days, who, int(from_day[:4]))

    def _decide_leave(self) -> Deed | None:
        if not (found := self._request()):
            return None
        number, who, from_day, days = found
        refused = self._rng.random() < 0.2
        if refused:
            self._give_back(who, from_day, days)
        self._do("UPDATE absences SET status = ? WHERE absence_id = ?", "odrzucony" if refused else "zatwierdzony", number)
        what, name = ("odrzucony", "refused") if refused else ("zatwierdzony", "approved"), self._name(who)
        return Deed(f"{name}: urlop {what[0]}", f"{name}'s leave {what[1]}", "absences", (number,))

    def _withdraw_leave(self) -> Deed | None:
        if not (found := self._request()):
            return None
        number, who, from_day, days = found
        self._give_back(who, from_day, days)
        self._do("DELETE FROM absences WHERE absence_id = ?", number)
        name = self._name(who)
        return Deed(f"{name}: wniosek urlopowy wycofany", f"{name} withdraws a request", "absences", (number,), True)

    def _correct_leave(self) -> Deed | None:
        """INSERT OR REPLACE with a new number and the same document: the old row goes by its other unique column."""
        if not (found := self._request()):
            return None
        new = self._one("SELECT max(absence_id) + 1 FROM absences")
        columns = "document_no, employee_id, leave_kind, from_day, to_day, working_days, status, requested_at"
        copied = f"SELECT ?, {columns}, 'wersja poprawiona' FROM absences WHERE absence_id = ?"
        self._do(f"INSERT OR REPLACE INTO absences (absence_id, {columns}, note) {copied}", new, found[0])
        name = self._name(found[1])
        return Deed(f"{name}: wniosek wydany ponownie", f"{name}'s request issued anew", "absences", (new,))

    # -- trips -----------------------------------------------------------------------------------------------------------

    def _travel(self) -> Deed | None:
        person = self._person()
        country, city, currency = self._rng.choice(names.TRIPS)
        trip = self._one("SELECT max(trip_id) + 1 FROM business_trips")
        start = self._today + timedelta(days=self._rng.randint(1, 20))
        days = [day.isoformat() for day in workdays(start, start + timedelta(days=7))[: self._rng.randint(1, 4)]]
        where = (country, city, self._rng.choice(names.TRIP_PURPOSES), f"{days[0]} 06:30:00", f"{days[-1]} 19:15:00")
        cells = (trip, f"DEL/{start.year}/{trip:05}", person.employee_id, *where, "500.00", currency, "zatwierdzona")
        self._do("INSERT INTO business_trips VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", *cells)
        lines = trip_lines(self._rng, trip, days, currency)
        self._database.executemany("INSERT INTO business_trip_lines VALUES (?, ?, ?, ?, ?, ?, ?, ?)", lines)
        what = f"{person.name}: delegacja, {city}, {len(lines)} pozycji"
        return Deed(what, f"{person.name} goes to {city}, {len(lines)} lines", "business_trip_lines", (trip, len(lines)))

    def _cancel_trip(self) -> Deed | None:
        found = self._any("SELECT trip_id, employee_id, city FROM business_trips WHERE status = 'zatwierdzona'")
        if not found:
            return None
        self._do("DELETE FROM business_trips WHERE trip_id = ?", found[0])  # its lines go with it
        name = self._name(found[1])
        return Deed(f"{name}: odwołana delegacja, {found[2]}", f"{name}'s trip cancelled", "business_trips", (found[0],), True)

    # -- employment ------------------------------------------------------------------------------------------------------

    def _amend(self, person: Person, reason: str, department: int, percent: int) -> bool:
        """End the newest row of the history yesterday and begin another today; once a day."""
        newest = "SELECT valid_from, base_pay FROM employee_history WHERE employee_id = ? ORDER BY valid_from DESC"
        found = self._row(newest, person.employee_id)
        if not found or found[0] >= self._today.isoformat():
            return False
        yesterday = (self._today - timedelta(days=1)).isoformat()
        key = (person.employee_id, found[0])
        self._do("UPDATE employee_history SET valid_to = ? WHERE (employee_id, valid_from) = (?, ?)", yesterday, *key)
        cents = int(found[1].replace(".", "")[: len(found[1].partition(".")[0]) + 2]) * (100 + percent) // 100
        copied = "SELECT employee_id, ?, NULL, ?, position_id, time_fraction, ?, contract_kind, ? FROM employee_history"
        values = (self._today.isoformat(), department, f"{cents // 100}.{cents % 100:02}", reason)
        self._do(f"INSERT INTO employee_history {copied} WHERE (employee_id, valid_from) = (?, ?)", *values, *key)
        return True

    def _move(self) -> Deed | None:
        person = self._person()
        target = self._any("SELECT department_id, name FROM departments WHERE department_id <> ?", person.department_id)
        if not target or not self._amend(person, "Przeniesienie", target[0], 0):
            return None
        moved = "UPDATE employees SET department_id = ?, modified_at = ? WHERE employee_id = ?"
        self._do(moved, target[0], self._now(), person.employee_id)
        centre = "UPDATE subordination SET centre_no = ?, since = ? WHERE (structure_code, employee_id) = ('GŁÓWNA', ?)"
        self._do(centre, target[0], self._today.isoformat(), person.employee_id)
        what = f"{person.name}: przeniesienie do: {target[1]}"
        return Deed(what, f"{person.name} moves to another department", "employees", (person.employee_id,))

    def _raise(self) -> Deed | None:
        person, percent = self._person(), self._rng.randint(2, 12)
        if not self._amend(person, "Podwyżka", person.department_id, percent):
            return None
        key = (person.employee_id, self._today.isoformat())
        return Deed(f"{person.name}: podwyżka", f"{person.name} gets a raise", "employee_history", key)

    def _hire(self) -> Deed | None:
        """A colleague like somebody who is there already: person, contract, mail account, leave limit."""
        model = self._person()
        new = self._one("SELECT max(employee_id) + 1 FROM employees")
        woman = self._one("SELECT sex FROM employees WHERE employee_id = ?", model.employee_id) == "K"
        first = self._rng.choice(names.WOMEN if woman else names.MEN)
        last = names.surname(self._rng.choice(names.SURNAMES), woman=woman)
        day, address = self._today.isoformat(), f"{names.plain(first)}.{names.plain(last)}{new}@{names.MAIL_DOMAIN}"
        birth = self._today - timedelta(days=self._rng.randint(20 * 366, 45 * 365))
        same = "sex, pesel_fictional, department_id, position_id, calendar_code, time_fraction, street, post_code, city"
        columns = f"employee_id, number, first_name, last_name, hired_on, birth_date, pesel, row_guid, modified_at, {same}"
        copied = f"SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?, {same} FROM employees WHERE employee_id = ?"
        person = (new, f"PR/{new:04}", first, last, day, birth.isoformat(), fictional_pesel(self._rng, birth, woman=woman))
        values = (*person, guid(self._rng), self._now(), model.employee_id)
        self._do(f"INSERT INTO employees ({columns}) {copied}", *values)
        history = "INSERT INTO employee_history VALUES (?, ?, NULL, ?, ?, 1, '6000.00', 'na okres próbny', 'Zatrudnienie')"
        self._do(history, new, day, model.department_id, model.position_id)
        self._do("INSERT INTO mail_accounts VALUES (?, ?, 'osobista', 1024, 1, ?)", address, new, self._now())
        self._do("INSERT INTO leave_limits VALUES (?, ?, 'UW', 20, 0, 0)", new, self._today.year)
        return Deed(f"Nowy pracownik: {first} {last}", f"{first} {last} is hired", "employees", (new,))

    def _photograph(self) -> Deed | None:
        person = self._person()
        cells = (person.employee_id, picture(self._rng), "image/png", self._today.isoformat())
        self._do("INSERT OR REPLACE INTO employee_photos VALUES (?, ?, ?, ?)", *cells)
        return Deed(f"{person.name}: nowe zdjęcie", f"{person.name}'s photo", "employee_photos", (person.employee_id,))

    # -- keys and scopes -------------------------------------------------------------------------------------------------

    def _rename_mail(self) -> Deed | None:
        """A key change; one in three changes the case alone, which for NOCASE is the same key."""
        found = self._any("SELECT address FROM mail_accounts WHERE kind = 'osobista' AND active = 1")
        if not found:
            return None
        name, _, domain = found[0].partition("@")
        new = f"{name.swapcase()}@{domain}" if self._rng.random() < 0.33 else f"{name}.{self._rng.randint(2, 999)}@{domain}"
        if self._row("SELECT 1 FROM mail_accounts WHERE address = ? AND address <> ?", new, found[0]):
            return None
        self._do("UPDATE mail_accounts SET address = ? WHERE address = ?", new, found[0])
        return Deed(f"Konto {found[0]} to teraz {new}", f"mail account renamed to {new}", "mail_accounts", (new.lower(),))

    def _sign_contract(self) -> Deed | None:
        """A draft is not synchronised: signing brings the row into the dataset, taking it back takes it out."""
        found = self._any("SELECT contract_no, status FROM civil_contracts WHERE status IN ('szkic', 'zawarta')")
        if not found:
            return None
        signed = found[1] == "szkic"
        self._do("UPDATE civil_contracts SET status = ? WHERE contract_no = ?", "zawarta" if signed else "szkic", found[0])
        what = ("zawarta", "signed") if signed else ("cofnięta do szkicu", "a draft again")
        return Deed(f"Umowa {found[0]}: {what[0]}", f"contract {what[1]}", "civil_contracts", (found[0],), not signed)

    def _renumber_project(self) -> Deed | None:
        """A key change with thousands of rows that follow it in the same transaction."""
        found = self._any("SELECT project_code, name FROM projects")
        if not found:
            return None
        new = f"{found[0][:7]}/{self._rng.randint(10, 99)}"
        if self._row("SELECT 1 FROM projects WHERE project_code = ?", new):
            return None
        self._do("UPDATE projects SET project_code = ? WHERE project_code = ?", new, found[0])
        return Deed(f"Projekt {found[1]}: nowy kod {new}", f"project renumbered to {new}", "projects", (new,))
