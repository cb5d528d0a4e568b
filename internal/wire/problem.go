package wire

// Problem is the body of a refusal (RFC 9457, application/problem+json). It never repeats content of the envelope.
type Problem struct {
	Type   string `json:"type"` // ProblemType + kind
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`
}

// ProblemType is the beginning of every Problem's type; the kind follows: too-large, certificate, station, media-type,
// incomplete, schema, hash, personal, withdrawn, database.
const ProblemType = "urn:obdgate:problem:"

// MaxProblem is how much of a refusal a station reads, in bytes.
const MaxProblem = 4 << 10
