-- The database of the demo's ERP: every person, firm and number in it is made up.
CREATE TABLE company_info (
  company_id INTEGER PRIMARY KEY,
  name NVARCHAR(120) NOT NULL,
  short_name NVARCHAR(40) NOT NULL,
  tax_id CHAR(10) NOT NULL,
  tax_id_fictional BIT NOT NULL,
  street NVARCHAR(80) NOT NULL,
  post_code CHAR(6) NOT NULL,
  city NVARCHAR(60) NOT NULL,
  voivodeship NVARCHAR(40) NOT NULL,
  founded_on DATE NOT NULL,
  share_capital TEXT_DECIMAL(19,4) NOT NULL,
  website NVARCHAR(120),
  logo BLOB,
  row_guid GUID NOT NULL UNIQUE,
  modified_at DATETIME(3) NOT NULL
);
CREATE TABLE zones (
  zone_code NVARCHAR(8) NOT NULL PRIMARY KEY,
  name NVARCHAR(60) NOT NULL,
  paid BIT NOT NULL,
  remote BIT NOT NULL,
  multiplier DECIMAL(5,2) NOT NULL
);
CREATE TABLE calendars (
  calendar_code NVARCHAR(8) NOT NULL PRIMARY KEY,
  name NVARCHAR(60) NOT NULL,
  day_starts TIME(0) NOT NULL,
  day_ends TIME(0) NOT NULL,
  norm_minutes INT NOT NULL
);
CREATE TABLE calendar_days (
  calendar_code NVARCHAR(8) NOT NULL REFERENCES calendars,
  day DATE NOT NULL,
  kind CHAR(1) NOT NULL,
  norm_minutes INT NOT NULL,
  holiday_name NVARCHAR(60),
  PRIMARY KEY (calendar_code, day)
);
CREATE TABLE departments (
  department_id INTEGER PRIMARY KEY,
  parent_id INT REFERENCES departments,
  code NVARCHAR(10) NOT NULL UNIQUE,
  name NVARCHAR(80) NOT NULL,
  cost_centre CHAR(6) NOT NULL,
  active BIT NOT NULL,
  modified_at DATETIME(3) NOT NULL
);
CREATE TABLE positions (
  position_id INTEGER PRIMARY KEY,
  code CHAR(3) NOT NULL UNIQUE,
  name NVARCHAR(80) NOT NULL,
  grade SMALLINT NOT NULL,
  pay_from TEXT_DECIMAL(19,4) NOT NULL,
  pay_to TEXT_DECIMAL(19,4) NOT NULL
);
CREATE TABLE employees (
  employee_id INTEGER PRIMARY KEY,
  number NVARCHAR(12) NOT NULL UNIQUE,
  first_name NVARCHAR(40) NOT NULL,
  second_name NVARCHAR(40),
  last_name NVARCHAR(60) NOT NULL,
  family_name NVARCHAR(60),
  sex CHAR(1) NOT NULL,
  birth_date DATE NOT NULL,
  pesel CHAR(11) NOT NULL,
  pesel_fictional BIT NOT NULL,
  hired_on DATE NOT NULL,
  dismissed_on DATE,
  department_id INT NOT NULL REFERENCES departments,
  position_id INT NOT NULL REFERENCES positions,
  calendar_code NVARCHAR(8) NOT NULL REFERENCES calendars,
  time_fraction DECIMAL(4,3) NOT NULL,
  street NVARCHAR(80) NOT NULL,
  post_code CHAR(6) NOT NULL,
  city NVARCHAR(60) NOT NULL,
  phone NVARCHAR(30),
  bank_account NVARCHAR(34),
  row_guid GUID NOT NULL UNIQUE,
  modified_at DATETIME(3) NOT NULL
);
CREATE INDEX employees_by_name ON employees (last_name, first_name);
CREATE INDEX employees_by_department ON employees (department_id);
CREATE TABLE employee_photos (
  employee_id INTEGER PRIMARY KEY REFERENCES employees ON DELETE CASCADE,
  photo BLOB NOT NULL,
  content_type NVARCHAR(30) NOT NULL,
  taken_on DATE NOT NULL
);
CREATE TABLE employee_history (
  employee_id INT NOT NULL REFERENCES employees ON DELETE CASCADE,
  valid_from DATE NOT NULL,
  valid_to DATE,
  department_id INT NOT NULL REFERENCES departments,
  position_id INT NOT NULL REFERENCES positions,
  time_fraction DECIMAL(4,3) NOT NULL,
  base_pay TEXT_DECIMAL(19,4) NOT NULL,
  contract_kind NVARCHAR(20) NOT NULL,
  reason NVARCHAR(80) NOT NULL,
  PRIMARY KEY (employee_id, valid_from)
);
CREATE TABLE structures (
  structure_code NVARCHAR(8) NOT NULL PRIMARY KEY,
  name NVARCHAR(80) NOT NULL,
  valid_from DATE NOT NULL,
  valid_to DATE
);
CREATE TABLE structure_centres (
  structure_code NVARCHAR(8) NOT NULL REFERENCES structures,
  centre_no INT NOT NULL,
  parent_no INT,
  name NVARCHAR(80) NOT NULL,
  department_id INT REFERENCES departments,
  head_id INT REFERENCES employees,
  PRIMARY KEY (structure_code, centre_no),
  FOREIGN KEY (structure_code, parent_no) REFERENCES structure_centres (structure_code, centre_no)
);
CREATE TABLE subordination (
  structure_code NVARCHAR(8) NOT NULL,
  employee_id INT NOT NULL REFERENCES employees ON DELETE CASCADE,
  centre_no INT NOT NULL,
  since DATE NOT NULL,
  PRIMARY KEY (structure_code, employee_id),
  FOREIGN KEY (structure_code, centre_no) REFERENCES structure_centres (structure_code, centre_no)
);
CREATE TABLE mail_accounts (
  address NVARCHAR(120) NOT NULL COLLATE NOCASE PRIMARY KEY,
  employee_id INT REFERENCES employees ON DELETE SET NULL,
  kind NVARCHAR(12) NOT NULL,
  quota_mb INT NOT NULL,
  active BIT NOT NULL,
  created_at DATETIME(3) NOT NULL
);
CREATE INDEX mail_accounts_by_employee ON mail_accounts (employee_id);
CREATE TABLE qualifications (
  qualification_id INTEGER PRIMARY KEY,
  employee_id INT NOT NULL REFERENCES employees ON DELETE CASCADE,
  kind NVARCHAR(8) NOT NULL,
  name NVARCHAR(80) NOT NULL,
  document_no NVARCHAR(30),
  issued_on DATE NOT NULL,
  valid_to DATE,
  score REAL
);
CREATE INDEX qualifications_by_employee ON qualifications (employee_id);
CREATE TABLE leave_limits (
  employee_id INT NOT NULL REFERENCES employees ON DELETE CASCADE,
  year SMALLINT NOT NULL,
  leave_kind NVARCHAR(4) NOT NULL,
  days DECIMAL(5,2) NOT NULL,
  carried_over DECIMAL(5,2) NOT NULL,
  used DECIMAL(5,2) NOT NULL,
  PRIMARY KEY (employee_id, year, leave_kind)
);
CREATE TABLE absences (
  absence_id INTEGER PRIMARY KEY,
  document_no NVARCHAR(20) NOT NULL UNIQUE,
  employee_id INT NOT NULL REFERENCES employees ON DELETE CASCADE,
  leave_kind NVARCHAR(4) NOT NULL,
  from_day DATE NOT NULL,
  to_day DATE NOT NULL,
  working_days INT NOT NULL,
  status NVARCHAR(14) NOT NULL,
  requested_at DATETIME(3) NOT NULL,
  note NVARCHAR(200)
);
CREATE INDEX absences_by_employee ON absences (employee_id, from_day);
CREATE TABLE projects (
  project_code NVARCHAR(12) NOT NULL PRIMARY KEY,
  name NVARCHAR(100) NOT NULL,
  client NVARCHAR(80) NOT NULL,
  starts_on DATE NOT NULL,
  ends_on DATE,
  budget TEXT_DECIMAL(19,4) NOT NULL,
  leader_id INT REFERENCES employees,
  settings JSON,
  active BIT NOT NULL
);
CREATE TABLE work_plan (
  employee_id INT NOT NULL REFERENCES employees ON DELETE CASCADE,
  day DATE NOT NULL,
  starts TIME(0) NOT NULL,
  ends TIME(0) NOT NULL,
  minutes INT NOT NULL,
  zone_code NVARCHAR(8) NOT NULL REFERENCES zones,
  PRIMARY KEY (employee_id, day)
);
CREATE TABLE work_time (
  entry_id INTEGER PRIMARY KEY,
  employee_id INT NOT NULL REFERENCES employees ON DELETE CASCADE,
  day DATE NOT NULL,
  started TIME(0) NOT NULL,
  ended TIME(0),
  minutes INT,
  zone_code NVARCHAR(8) NOT NULL REFERENCES zones,
  recorded_at DATETIME(3) NOT NULL
);
CREATE TABLE timesheets (
  timesheet_id INTEGER PRIMARY KEY,
  employee_id INT NOT NULL REFERENCES employees ON DELETE CASCADE,
  project_code NVARCHAR(12) NOT NULL REFERENCES projects ON UPDATE CASCADE,
  day DATE NOT NULL,
  hours DECIMAL(9,2) NOT NULL,
  description NVARCHAR(200),
  approved BIT NOT NULL
);
CREATE TABLE civil_contracts (
  contract_no NVARCHAR(20) NOT NULL PRIMARY KEY,
  kind NVARCHAR(12) NOT NULL,
  contractor NVARCHAR(100) NOT NULL,
  subject NVARCHAR(120) NOT NULL,
  from_day DATE NOT NULL,
  to_day DATE NOT NULL,
  amount TEXT_DECIMAL(19,4) NOT NULL,
  cost_rate DECIMAL(5,2) NOT NULL,
  status NVARCHAR(12) NOT NULL,
  row_guid GUID NOT NULL UNIQUE
);
CREATE TABLE business_trips (
  trip_id INTEGER PRIMARY KEY,
  number NVARCHAR(20) NOT NULL UNIQUE,
  employee_id INT NOT NULL REFERENCES employees ON DELETE CASCADE,
  country CHAR(2) NOT NULL,
  city NVARCHAR(60) NOT NULL,
  purpose NVARCHAR(120) NOT NULL,
  departs_at DATETIME(0) NOT NULL,
  returns_at DATETIME(0) NOT NULL,
  advance TEXT_DECIMAL(19,4) NOT NULL,
  currency CHAR(3) NOT NULL,
  status NVARCHAR(14) NOT NULL
);
CREATE INDEX business_trips_by_employee ON business_trips (employee_id);
CREATE TABLE business_trip_lines (
  trip_id INT NOT NULL REFERENCES business_trips ON DELETE CASCADE,
  line_no SMALLINT NOT NULL,
  kind NVARCHAR(20) NOT NULL,
  day DATE NOT NULL,
  amount TEXT_DECIMAL(19,4) NOT NULL,
  currency CHAR(3) NOT NULL,
  exchange_rate DECIMAL(9,4) NOT NULL,
  amount_pln TEXT_DECIMAL(19,4) NOT NULL,
  PRIMARY KEY (trip_id, line_no)
);
-- after loading: indexes of the large tables
CREATE UNIQUE INDEX work_time_once ON work_time (employee_id, day, started);
CREATE INDEX timesheets_by_employee ON timesheets (employee_id, day);
