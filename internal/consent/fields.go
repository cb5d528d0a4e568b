package consent

// Field is one information field of ISO/IEC TS 27560:2023 and where a receipt holds it.
type Field struct {
	Name      string // as the standard names it
	Mandatory bool
	Path      string // JSON path in the receipt; "" = an optional field that does not apply here
	Term      string // W3C DPV or Dublin Core term that stands for it
}

// Fields27560 is the list of the standard's fields, after the mapping the W3C community group on data privacy vocabularies
// publishes (guide "Consent records and receipts as per ISO/IEC TS 27560", 2024).
var Fields27560 = []Field{
	{"schema version", true, "schema", "dct:conformsTo"},
	{"record id", true, "record_id", "dct:identifier"},
	{"receipt id", true, "receipt_id", "dct:identifier"},
	{"pii principal id", true, "pii_principal.visit", "dpv:hasDataSubject"},
	{"privacy notice", true, "processing.notice_sha256", "dpv:hasNotice"},
	{"language", true, "language", "dct:language"},
	{"purpose", true, "processing.purpose_name", "dpv:hasPurpose"},
	{"purpose type", false, "processing.purpose_terms", "dpv:hasPurpose"},
	{"lawful basis", false, "processing.legal_basis", "dpv:hasLegalBasis"},
	{"pii information", true, "processing.data_categories", "dpv:hasPersonalData"},
	{"pii controllers", true, "pii_controller", "dpv:hasDataController"},
	{"collection method", false, "processing.collection_method", "dpv:hasDataSource"},
	{"processing method", false, "processing.processing_terms", "dpv:hasProcessing"},
	{"storage locations", true, "processing.storage_locations", "dpv:hasStorageCondition"},
	{"retention period", true, "processing.retention", "dpv:hasStorageCondition"},
	{"processing location", false, "processing.storage_locations", "dpv:hasLocation"},
	{"geographic restrictions", false, "processing.geographic_restriction", "dpv:hasRule"},
	{"service", false, "processing.service", "dpv:hasService"},
	{"jurisdiction", true, "processing.jurisdiction", "dpv:hasJurisdiction"},
	{"recipient third parties", true, "recipients", "dpv:hasRecipient"},
	{"withdrawal method", true, "processing.withdrawal", "dpv:WithdrawConsent"},
	{"privacy rights", false, "processing.rights", "dpv:hasRight"},
	{"codes of conduct", false, "", "dpv:CodeOfConduct"},
	{"impact assessment", false, "", "dpv:hasImpactAssessment"},
	{"authority party", false, "authority", "dpv:hasAuthority"},
	{"pii type", true, "processing.data_categories", "dpv:hasPersonalData"},
	{"sensitive pii category", false, "processing.sensitive_data", "dpv:SensitivePersonalData"},
	{"special pii category", false, "processing.special_data", "dpv:SpecialCategoryPersonalData"},
	{"party id", true, "pii_controller.station", "dct:identifier"},
	{"party address", true, "pii_controller.address", "dpv:hasAddress"},
	{"party email", false, "pii_controller.email", "dpv:hasContact"},
	{"party url", false, "pii_controller.url", "dpv:hasContact"},
	{"party phone", false, "pii_controller.phone", "dpv:hasContact"},
	{"party name", true, "pii_controller.name", "dpv:hasName"},
	{"party role", false, "pii_controller.role", "dpv:DataController"},
	{"party contact", false, "pii_controller.contact", "dpv:hasContact"},
	{"event time", true, "consent_event.at", "dct:date"},
	{"validity duration", true, "consent_event.validity", "dpv:hasDuration"},
	{"entity id", true, "consent_event.entity", "dpv:isIndicatedBy"},
	{"event type", true, "consent_event.type", "dpv:hasIndicationMethod"},
	{"event state", true, "consent_event.state_term", "dpv:hasConsentStatus"},
}
