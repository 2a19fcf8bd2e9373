"""How right a sensor is: its heart rate, beats, breaths and oxygen saturation against a reference.

``reference`` says what is compared with what, ``rates`` and ``intervals`` bring the two together in time,
``agreement`` and ``blocks`` make figures with intervals of the differences, ``judging`` makes verdicts of figures.
"""
