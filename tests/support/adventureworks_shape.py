"""The shape of AdventureWorks, 24 tables: columns (`?` may be NULL), primary keys, references and unique sets."""

from __future__ import annotations

from typing import NamedTuple


class Shape(NamedTuple):
    """One table; types are SQL Server's."""

    columns: str  # "Name type[?], ..."
    key: str
    rows: int
    references: str = ""  # "column > table, ..."
    unique: str = ""  # "column column | column"


SHAPES: dict[str, Shape] = {
    "HumanResources.Department": Shape(
        "DepartmentID smallint, Name nvarchar(50), GroupName nvarchar(50), ModifiedDate datetime",
        "DepartmentID",
        16,
        "",
        "Name",
    ),
    "HumanResources.Shift": Shape(
        "ShiftID tinyint, Name nvarchar(50), StartTime time, EndTime time, ModifiedDate datetime",
        "ShiftID",
        3,
        "",
        "Name | StartTime EndTime",
    ),
    "HumanResources.Employee": Shape(
        "BusinessEntityID int, NationalIDNumber nvarchar(15), LoginID nvarchar(256), OrganizationNode hierarchyid?, "
        "JobTitle nvarchar(50), BirthDate date, MaritalStatus nchar(1), Gender nchar(1), HireDate date, SalariedFlag "
        "bit, VacationHours smallint, SickLeaveHours smallint, CurrentFlag bit, rowguid uniqueidentifier, ModifiedDate "
        "datetime",
        "BusinessEntityID",
        290,
        "",
        "NationalIDNumber | LoginID | rowguid",
    ),
    "HumanResources.EmployeeDepartmentHistory": Shape(
        "BusinessEntityID int, DepartmentID smallint, ShiftID tinyint, StartDate date, EndDate date?, ModifiedDate datetime",
        "BusinessEntityID StartDate DepartmentID ShiftID",
        296,
        "DepartmentID > HumanResources.Department, BusinessEntityID > HumanResources.Employee, ShiftID > HumanResources.Shift",
    ),
    "HumanResources.EmployeePayHistory": Shape(
        "BusinessEntityID int, RateChangeDate datetime, Rate money, PayFrequency tinyint, ModifiedDate datetime",
        "BusinessEntityID RateChangeDate",
        316,
        "BusinessEntityID > HumanResources.Employee",
    ),
    "HumanResources.JobCandidate": Shape(
        "JobCandidateID int, BusinessEntityID int?, Resume xml?, ModifiedDate datetime",
        "JobCandidateID",
        13,
        "BusinessEntityID > HumanResources.Employee",
    ),
    "Person.EmailAddress": Shape(
        "BusinessEntityID int, EmailAddressID int, EmailAddress nvarchar(50)?, rowguid uniqueidentifier, ModifiedDate datetime",
        "BusinessEntityID EmailAddressID",
        19972,
    ),
    "Person.PersonPhone": Shape(
        "BusinessEntityID int, PhoneNumber nvarchar(25), PhoneNumberTypeID int, ModifiedDate datetime",
        "BusinessEntityID PhoneNumber PhoneNumberTypeID",
        19972,
        "PhoneNumberTypeID > Person.PhoneNumberType",
    ),
    "Person.PhoneNumberType": Shape(
        "PhoneNumberTypeID int, Name nvarchar(50), ModifiedDate datetime",
        "PhoneNumberTypeID",
        3,
    ),
    "Production.ProductCategory": Shape(
        "ProductCategoryID int, Name nvarchar(50), rowguid uniqueidentifier, ModifiedDate datetime",
        "ProductCategoryID",
        4,
        "",
        "Name | rowguid",
    ),
    "Production.ProductSubcategory": Shape(
        "ProductSubcategoryID int, ProductCategoryID int, Name nvarchar(50), rowguid uniqueidentifier, ModifiedDate datetime",
        "ProductSubcategoryID",
        37,
        "ProductCategoryID > Production.ProductCategory",
        "Name",
    ),
    "Production.UnitMeasure": Shape(
        "UnitMeasureCode nchar(3), Name nvarchar(50), ModifiedDate datetime",
        "UnitMeasureCode",
        38,
        "",
        "Name",
    ),
    "Production.Location": Shape(
        "LocationID smallint, Name nvarchar(50), CostRate smallmoney, Availability decimal(8;2), ModifiedDate datetime",
        "LocationID",
        14,
        "",
        "Name",
    ),
    "Production.Product": Shape(
        "ProductID int, Name nvarchar(50), ProductNumber nvarchar(25), MakeFlag bit, FinishedGoodsFlag bit, Color "
        "nvarchar(15)?, SafetyStockLevel smallint, ReorderPoint smallint, StandardCost money, ListPrice money, Size "
        "nvarchar(5)?, SizeUnitMeasureCode nchar(3)?, WeightUnitMeasureCode nchar(3)?, Weight decimal(8;2)?, "
        "DaysToManufacture int, ProductLine nchar(2)?, Class nchar(2)?, Style nchar(2)?, ProductSubcategoryID int?, "
        "ProductModelID int?, SellStartDate datetime, SellEndDate datetime?, DiscontinuedDate datetime?, rowguid "
        "uniqueidentifier, ModifiedDate datetime",
        "ProductID",
        504,
        "SizeUnitMeasureCode > Production.UnitMeasure, WeightUnitMeasureCode > Production.UnitMeasure, "
        "ProductSubcategoryID > Production.ProductSubcategory",
        "Name | ProductNumber | rowguid",
    ),
    "Production.ProductInventory": Shape(
        "ProductID int, LocationID smallint, Shelf nvarchar(10), Bin tinyint, Quantity smallint, rowguid "
        "uniqueidentifier, ModifiedDate datetime",
        "ProductID LocationID",
        1069,
        "LocationID > Production.Location, ProductID > Production.Product",
    ),
    "Production.ProductListPriceHistory": Shape(
        "ProductID int, StartDate datetime, EndDate datetime?, ListPrice money, ModifiedDate datetime",
        "ProductID StartDate",
        395,
        "ProductID > Production.Product",
    ),
    "Production.ProductPhoto": Shape(
        "ProductPhotoID int, ThumbNailPhoto varbinary(max)?, ThumbnailPhotoFileName nvarchar(50)?, LargePhoto "
        "varbinary(max)?, LargePhotoFileName nvarchar(50)?, ModifiedDate datetime",
        "ProductPhotoID",
        101,
    ),
    "Production.ProductProductPhoto": Shape(
        "ProductID int, ProductPhotoID int, Primary bit, ModifiedDate datetime",
        "ProductID ProductPhotoID",
        504,
        "ProductID > Production.Product, ProductPhotoID > Production.ProductPhoto",
    ),
    "Sales.Currency": Shape(
        "CurrencyCode nchar(3), Name nvarchar(50), ModifiedDate datetime",
        "CurrencyCode",
        105,
        "",
        "Name",
    ),
    "Sales.CurrencyRate": Shape(
        "CurrencyRateID int, CurrencyRateDate datetime, FromCurrencyCode nchar(3), ToCurrencyCode nchar(3), AverageRate "
        "money, EndOfDayRate money, ModifiedDate datetime",
        "CurrencyRateID",
        13532,
        "FromCurrencyCode > Sales.Currency, ToCurrencyCode > Sales.Currency",
        "CurrencyRateDate FromCurrencyCode ToCurrencyCode",
    ),
    "Purchasing.Vendor": Shape(
        "BusinessEntityID int, AccountNumber nvarchar(15), Name nvarchar(50), CreditRating tinyint, "
        "PreferredVendorStatus bit, ActiveFlag bit, PurchasingWebServiceURL nvarchar(1024)?, ModifiedDate datetime",
        "BusinessEntityID",
        104,
        "",
        "AccountNumber",
    ),
    "Purchasing.ShipMethod": Shape(
        "ShipMethodID int, Name nvarchar(50), ShipBase money, ShipRate money, rowguid uniqueidentifier, ModifiedDate datetime",
        "ShipMethodID",
        5,
        "",
        "Name",
    ),
    "Purchasing.PurchaseOrderHeader": Shape(
        "PurchaseOrderID int, RevisionNumber tinyint, Status tinyint, EmployeeID int, VendorID int, ShipMethodID int, "
        "OrderDate datetime, ShipDate datetime?, SubTotal money, TaxAmt money, Freight money, ModifiedDate datetime",
        "PurchaseOrderID",
        4012,
        "EmployeeID > HumanResources.Employee, VendorID > Purchasing.Vendor, ShipMethodID > Purchasing.ShipMethod",
    ),
    "Purchasing.PurchaseOrderDetail": Shape(
        "PurchaseOrderID int, PurchaseOrderDetailID int, DueDate datetime, OrderQty smallint, ProductID int, UnitPrice "
        "money, ReceivedQty decimal(8;2), RejectedQty decimal(8;2), ModifiedDate datetime",
        "PurchaseOrderID PurchaseOrderDetailID",
        8845,
        "ProductID > Production.Product, PurchaseOrderID > Purchasing.PurchaseOrderHeader",
    ),
}
