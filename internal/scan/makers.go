package scan

import (
	"obdgate/internal/isotp"
	"obdgate/internal/maker"
	"obdgate/internal/odometer"
	"obdgate/internal/policy"
)

// Makers is what scans know of makers' vehicles: their control units, and where the mileage and what a workshop wants
// stand. A recording classified with it is tagged as the scan was that asked.
func Makers() policy.Makers {
	var all []isotp.Address
	for _, u := range unitTable() {
		all = append(all, u.addr)
	}
	for _, r := range odometer.Rows() {
		all = append(all, r.Address())
	}
	all = append(all, maker.Addresses()...)
	return policy.Makers{All: all, Of: knownOf}
}

func knownOf(wmi string) (m policy.Maker) {
	for _, u := range unitsOf(wmi) {
		m.Pairs = append(m.Pairs, u.addr)
	}
	for _, r := range odometer.ForMaker(wmi) {
		m.Places = append(m.Places, mileagePlace(r))
	}
	for _, r := range maker.ForVehicle(wmi) {
		m.Places = append(m.Places, makerPlace(r))
	}
	return m
}

func mileagePlace(r odometer.Row) policy.Place {
	offset, width := r.Place()
	return policy.Place{Addr: r.Address(), Question: r.Payload, Offset: offset, Width: width, Key: r.Key()}
}

func makerPlace(r maker.Row) policy.Place {
	offset, width := r.Place()
	return policy.Place{Addr: r.Address(), Question: r.Payload, Offset: offset, Width: width, Length: r.Length(), Key: r.Key()}
}
