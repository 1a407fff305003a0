"""Whose study it is: the attributes that a result shares with its source, as the standard's modules name them.

Read by deidentify (what to keep in the vault) and by deliver (what to give back). Data only.
"""

# PS3.3 C.7.1.1, C.7.1.3, C.7.2.1, C.7.2.2 and C.7.2.3, without Study Instance UID; and the attributes of C.12.1 that
# say whether a study is de-identified. References to other objects are left out: they name no patient, and scanners
# leave them incomplete.
_KEYWORDS = """
    PatientName PatientID IssuerOfPatientID TypeOfPatientID IssuerOfPatientIDQualifiersSequence PatientBirthDate
    PatientBirthTime PatientBirthDateInAlternativeCalendar PatientDeathDateInAlternativeCalendar
    PatientAlternativeCalendar PatientSex QualityControlSubject OtherPatientIDs OtherPatientIDsSequence
    OtherPatientNames PatientBirthName PatientMotherBirthName EthnicGroup EthnicGroupCodeSequence PatientComments
    SourcePatientGroupIdentificationSequence GroupOfPatientsIdentificationSequence
    PatientSpeciesDescription PatientSpeciesCodeSequence PatientBreedDescription
    PatientBreedCodeSequence BreedRegistrationSequence ResponsiblePerson ResponsiblePersonRole
    ResponsibleOrganization StrainDescription StrainNomenclature StrainStockSequence StrainAdditionalInformation
    StrainCodeSequence GeneticModificationsSequence
    StudyDate StudyTime AccessionNumber IssuerOfAccessionNumberSequence StudyID StudyDescription
    ReferringPhysicianName ReferringPhysicianIdentificationSequence ConsultingPhysicianName
    ConsultingPhysicianIdentificationSequence ProcedureCodeSequence PhysiciansOfRecord
    PhysiciansOfRecordIdentificationSequence NameOfPhysiciansReadingStudy
    PhysiciansReadingStudyIdentificationSequence RequestingService
    RequestingServiceCodeSequence ReasonForPerformedProcedureCodeSequence
    AdmittingDiagnosesDescription AdmittingDiagnosesCodeSequence PatientAge PatientSize PatientSizeCodeSequence
    PatientBodyMassIndex MeasuredAPDimension MeasuredLateralDimension PatientWeight MedicalAlerts Allergies
    Occupation SmokingStatus AdditionalPatientHistory PregnancyStatus LastMenstrualDate PatientSexNeutered
    ReasonForVisit ReasonForVisitCodeSequence AdmissionID IssuerOfAdmissionIDSequence ServiceEpisodeID
    ServiceEpisodeDescription IssuerOfServiceEpisodeIDSequence PatientState
    ClinicalTrialSponsorName ClinicalTrialProtocolID ClinicalTrialProtocolName IssuerOfClinicalTrialProtocolID
    OtherClinicalTrialProtocolIDsSequence ClinicalTrialSiteID ClinicalTrialSiteName IssuerOfClinicalTrialSiteID
    ClinicalTrialSubjectID IssuerOfClinicalTrialSubjectID ClinicalTrialSubjectReadingID
    IssuerOfClinicalTrialSubjectReadingID ClinicalTrialProtocolEthicsCommitteeName
    ClinicalTrialProtocolEthicsCommitteeApprovalNumber ClinicalTrialTimePointID ClinicalTrialTimePointDescription
    LongitudinalTemporalOffsetFromEvent LongitudinalTemporalEventType ClinicalTrialTimePointTypeCodeSequence
    IssuerOfClinicalTrialTimePointID ConsentForClinicalTrialUseSequence
    PatientIdentityRemoved DeidentificationMethod DeidentificationMethodCodeSequence
    LongitudinalTemporalInformationModified
"""
IDENTITY_KEYWORDS = frozenset(_KEYWORDS.split())

# Type 2 in the Patient and General Study modules: every object has them, empty where nothing is known.
REQUIRED_KEYWORDS = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ReferringPhysicianName",
    "StudyID",
)
