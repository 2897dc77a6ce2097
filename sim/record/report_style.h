/* report_style.h: the parts of a report's page that are the same in all of them: style sheet and script. */
#ifndef MR_RECORD_REPORT_STYLE_H
#define MR_RECORD_REPORT_STYLE_H

extern const char mr_report_style[];
extern const char mr_report_script[];

#endif
