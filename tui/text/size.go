package text

import "strconv"

// Bytes writes a number of bytes in at most five letters, in powers of 1024:
// "0", "940", "12K", "1.2G", "48G". It rounds half up; a negative number is "0".
func Bytes(n int64) string {
	const units = "KMGTPE"
	if n < 1000 {
		return strconv.FormatInt(max(n, 0), 10)
	}
	f, unit := float64(n)/1024, 0
	for f >= 999.5 && unit < len(units)-1 {
		f /= 1024
		unit++
	}
	prec := 0
	if f < 9.95 {
		prec = 1
	}
	s := strconv.FormatFloat(f, 'f', prec, 64)
	if len(s) > 2 && s[len(s)-2:] == ".0" {
		s = s[:len(s)-2]
	}
	return s + units[unit:unit+1]
}

// Percent writes a share of one, 1 being "100%", in at most five letters; what
// is not nothing is not "0%" but "<1%".
func Percent(share float64) string {
	switch p := share * 100; {
	case p <= 0.05:
		return "0%"
	case p < 1:
		return "<1%"
	case p >= 99999.5:
		return strconv.FormatFloat(p/1000, 'f', 0, 64) + "k%"
	default:
		return strconv.FormatFloat(p, 'f', 0, 64) + "%"
	}
}
