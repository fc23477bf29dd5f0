"""The highest load that keeps an SLO, over the settings of an arrangement."""
NEAR = 1.06  # the highest load found and the lowest that fails are no further apart
STRIDE = 1.5


def highest(keeps, begin, least):
    """The highest load with `keeps(load)`, found from `begin` on; 0 where not even `least` has it."""
    load, good, bad = begin, 0.0, None
    while bad is None:
        if keeps(load):
            good, load = load, load * STRIDE
        else:
            bad = load
    while not good:
        load /= STRIDE
        if load < least:
            return 0.0
        if keeps(load):
            good = load
        else:
            bad = load
    while bad / good > NEAR:
        middle = (bad * good) ** 0.5
        if keeps(middle):
            good = middle
        else:
            bad = middle
    return good


def best_of(settings, keeps, begin, least, first):
    """Of settings in an order in which capacity has one top, the best and its load, from the one
    numbered `first` on. `keeps(setting, load)`. A setting is searched only if it holds more than
    the best so far."""
    best = settings[first]
    load = highest(lambda rate: keeps(best, rate), begin, least)
    for others in (settings[first + 1:], settings[:first][::-1]):
        gained = False
        for setting in others:
            more = load * NEAR or least
            if keeps(setting, more):
                best, gained = setting, True
                load = highest(lambda rate, one=setting: keeps(one, rate), more, least)
            elif load:  # else there may be a top further on
                break
        if gained:
            break
    return best, load
