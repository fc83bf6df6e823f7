package portcullis

decision := {"allow": true, "reasons": [], "obligations": {}}
